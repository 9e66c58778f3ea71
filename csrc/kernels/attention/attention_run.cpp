#include "kernels/attention/attention_run.h"

#include <numeric>

namespace mfugaku::kernels {
namespace {

using Tasks = std::vector<std::vector<int64_t>>;

// Puts each task, the heaviest first, to the first thread whose load stays within `most`; false when one fits nowhere.
bool fit(const std::vector<int64_t>& weights, const std::vector<int64_t>& order, int64_t most, Tasks& tasks) {
  std::vector<int64_t> loads(tasks.size());
  for (auto& of_thread : tasks) of_thread.clear();
  for (const int64_t task : order) {
    const int64_t weight = weights[static_cast<size_t>(task)];
    const auto found = std::find_if(loads.begin(), loads.end(), [&](int64_t load) { return load + weight <= most; });
    if (found == loads.end()) return false;
    *found += weight;
    tasks[static_cast<size_t>(found - loads.begin())].push_back(task);
  }
  return true;
}

}  // namespace

std::vector<std::vector<int64_t>> deal_tasks(const std::vector<int64_t>& weights, int64_t num_threads) {
  std::vector<int64_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  const auto weight_of = [&](int64_t task) { return weights[static_cast<size_t>(task)]; };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return weight_of(a) > weight_of(b); });
  const int64_t total = std::accumulate(weights.begin(), weights.end(), int64_t{0});
  const int64_t heaviest = order.empty() ? 0 : weight_of(order.front());
  // No load is below `low`; with `high` everything fits, for what fits nowhere would be more than all loads have room
  // for.
  int64_t low = std::max(heaviest, (total + num_threads - 1) / num_threads), high = low + heaviest;
  Tasks tasks(static_cast<size_t>(num_threads));
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (fit(weights, order, middle, tasks)) high = middle;
    else low = middle + 1;
  }
  fit(weights, order, high, tasks);
  return tasks;
}

GranuleGroups::GranuleGroups(const AttentionJob& job) {
  constexpr int64_t kThreads = 48, kMostGroups = 16;
  const int64_t key_heads = std::max<int64_t>(1, job.num_heads / job.group), shift = job.num_keys - job.num_queries;
  std::vector<int64_t> work;
  for (int64_t key = 0; key < job.num_keys; key += kAttentionGranule)
    work.push_back(job.num_queries - (job.is_causal ? std::max<int64_t>(0, key - shift) : 0));
  const int64_t evenly = kThreads / std::gcd(kThreads, key_heads), most = static_cast<int64_t>(work.size());
  auto groups = deal_tasks(work, std::min({evenly, kMostGroups, most}));
  first_granule.push_back(0);
  for (auto& group : groups) {
    if (group.empty()) continue;
    std::sort(group.begin(), group.end());
    granules.insert(granules.end(), group.begin(), group.end());
    first_granule.push_back(static_cast<int64_t>(granules.size()));
    weights.push_back(0);
    for (const int64_t granule : group) weights.back() += work[static_cast<size_t>(granule)];
  }
}

}  // namespace mfugaku::kernels
