// The attention kernels of every instruction set against the formulas in double, and against each other bit for bit.
#include <doctest/doctest.h>

#include <atomic>
#include <memory>

#include "kernels/attention/attention_run.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

struct Case {
  int64_t heads, group, queries, keys, width;
  bool is_causal;
  double drop;
};

// [head, row, width] in memory as [row, head, width + gap].
struct Heads {
  int64_t heads, rows, width, gap;
  std::vector<float> values;

  Heads(int64_t num_heads, int64_t num_rows, int64_t num_columns, int64_t a_gap)
      : heads(num_heads),
        rows(num_rows),
        width(num_columns),
        gap(a_gap),
        values(static_cast<size_t>(num_heads * num_rows * (num_columns + a_gap)), 7.0f) {}
  void fill(Random& random, double size) {
    for (float& v : values) v = static_cast<float>(random.between(-size, size));
  }
  size_t at(int64_t head, int64_t row, int64_t column) const {
    return static_cast<size_t>((row * heads + head) * (width + gap) + column);
  }
  double get(int64_t head, int64_t row, int64_t column) const { return values[at(head, row, column)]; }
};

struct Inputs {
  Heads query, key, value, gradient;
};

Inputs make_inputs(const Case& c, Random& random) {
  Inputs in = {Heads(c.heads, c.queries, c.width, 1), Heads(c.heads / c.group, c.keys, c.width, 2),
               Heads(c.heads / c.group, c.keys, c.width, 0), Heads(c.heads, c.queries, c.width, 3)};
  in.query.fill(random, 3);
  in.key.fill(random, 3);
  in.value.fill(random, 1);
  in.gradient.fill(random, 1);
  return in;
}

// Numbers in the memory of one storage format, with the strides of a Heads.
class Memory {
 public:
  Memory(const Heads& heads, Storage storage) : heads_(heads), storage_(storage) {
    const auto count = static_cast<int64_t>(heads.values.size());
    if (storage == Storage::Float32) floats_ = std::make_unique<Guarded<float>>(count, Edge::AtEnd);
    else halves_ = std::make_unique<Guarded<uint16_t>>(count, Edge::AtEnd);
    for (int64_t i = 0; i < count; ++i) {
      if (floats_) (*floats_)[i] = heads.values[static_cast<size_t>(i)];
      else (*halves_)[i] = format().nearest(heads.values[static_cast<size_t>(i)]);
    }
  }
  AttentionMatrix matrix() const {
    void* const data = floats_ ? static_cast<void*>(floats_->data()) : static_cast<void*>(halves_->data());
    return {data, heads_.heads * (heads_.width + heads_.gap), heads_.width + heads_.gap};
  }
  Heads read() const {
    Heads result = heads_;
    for (size_t i = 0; i < result.values.size(); ++i)
      result.values[i] = floats_ ? (*floats_)[static_cast<int64_t>(i)]
                                 : static_cast<float>(format().value((*halves_)[static_cast<int64_t>(i)]));
    return result;
  }
  bool intact() const { return floats_ ? floats_->intact() : halves_->intact(); }

 private:
  const HalfFormat& format() const { return storage_ == Storage::BFloat16 ? kBFloat16 : kFloat16; }
  Heads heads_;
  Storage storage_;
  std::unique_ptr<Guarded<float>> floats_;
  std::unique_ptr<Guarded<uint16_t>> halves_;
};

struct Results {
  Heads out, query, key, value;
};

AttentionJob job_of(const Case& c) {
  AttentionJob job = {};
  job.num_heads = c.heads;
  job.group = c.group;
  job.num_queries = c.queries;
  job.num_keys = c.keys;
  job.width = c.width;
  job.is_causal = c.is_causal;
  job.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(c.width)));
  job.threshold = static_cast<uint32_t>(c.drop * 0x1p32);
  job.keep_scale = static_cast<float>(1 / (1 - c.drop));
  job.seed = 0x123456789abcdef0ull;
  job.offset = 5;
  job.heads_per_sequence = c.heads;
  job.heads_of_model = 3 * c.heads;
  job.first_head = c.heads;
  return job;
}

// What decides on (head, query, key), by the words of the contract.
bool is_kept(const AttentionJob& job, int64_t head, int64_t query, int64_t key) {
  const int64_t number =
      head / job.heads_per_sequence * job.heads_of_model + job.first_head + head % job.heads_per_sequence;
  const Words words =
      philox({static_cast<uint32_t>(query), static_cast<uint32_t>(key / 4), static_cast<uint32_t>(number), job.offset},
             job.seed);
  return words[static_cast<size_t>(key % 4)] >= job.threshold;
}

Results compute(const Case& c, const AttentionJob& job, const Inputs& in) {
  Results r = {Heads(c.heads, c.queries, c.width, 1), Heads(c.heads, c.queries, c.width, 1),
               Heads(c.heads / c.group, c.keys, c.width, 1), Heads(c.heads / c.group, c.keys, c.width, 1)};
  std::vector<double> dk(static_cast<size_t>(c.heads / c.group * c.keys * c.width)), dv(dk.size());
  for (int64_t head = 0; head < c.heads; ++head) {
    const int64_t from = head / c.group;
    for (int64_t i = 0; i < c.queries; ++i) {
      const int64_t limit = c.is_causal ? i + c.keys - c.queries + 1 : c.keys;
      std::vector<double> p(static_cast<size_t>(limit)), z(p.size());
      double high = -1e300, total = 0, projection = 0;
      for (int64_t j = 0; j < limit; ++j) {
        for (int64_t k = 0; k < c.width; ++k) p[j] += in.query.get(head, i, k) * in.key.get(from, j, k);
        high = std::max(high, p[j] *= job.scale);
      }
      for (double& v : p) total += v = std::exp(v - high);
      for (int64_t j = 0; j < limit; ++j) {
        p[j] /= total;
        z[j] = job.threshold == 0 ? 1.0 : is_kept(job, head, i, j) ? job.keep_scale : 0.0;
      }
      for (int64_t k = 0; k < c.width; ++k) {
        double sum = 0;
        for (int64_t j = 0; j < limit; ++j) sum += p[j] * z[j] * in.value.get(from, j, k);
        r.out.values[r.out.at(head, i, k)] = static_cast<float>(sum);
        projection += sum * in.gradient.get(head, i, k);
      }
      std::vector<double> dq(static_cast<size_t>(c.width));
      for (int64_t j = 0; j < limit; ++j) {
        double product = 0;
        for (int64_t k = 0; k < c.width; ++k) product += in.gradient.get(head, i, k) * in.value.get(from, j, k);
        const double d = p[j] * (z[j] * product - projection) * job.scale;
        for (int64_t k = 0; k < c.width; ++k) {
          const auto at = static_cast<size_t>((from * c.keys + j) * c.width + k);
          dq[k] += d * in.key.get(from, j, k);
          dk[at] += d * in.query.get(head, i, k);
          dv[at] += p[j] * z[j] * in.gradient.get(head, i, k);
        }
      }
      for (int64_t k = 0; k < c.width; ++k) r.query.values[r.query.at(head, i, k)] = static_cast<float>(dq[k]);
    }
  }
  for (int64_t head = 0; head < c.heads / c.group; ++head)
    for (int64_t j = 0; j < c.keys; ++j)
      for (int64_t k = 0; k < c.width; ++k) {
        const auto at = static_cast<size_t>((head * c.keys + j) * c.width + k);
        r.key.values[r.key.at(head, j, k)] = static_cast<float>(dk[at]);
        r.value.values[r.value.at(head, j, k)] = static_cast<float>(dv[at]);
      }
  return r;
}

// Ranges on threads, last to first.
const auto kParallel = [](int64_t count, int64_t grain, const auto& body) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (int64_t end = count; end > 0; end -= std::min(end, grain))
    ranges.push_back({std::max<int64_t>(0, end - grain), end});
  on_threads(ranges, body);
};

Results run(const AttentionKernels& kernels, const Case& c, AttentionJob job, const Inputs& in, Storage storage,
            int64_t num_threads) {
  const Memory query(in.query, storage), key(in.key, storage), value(in.value, storage), gradient(in.gradient, storage);
  const Memory out(Heads(c.heads, c.queries, c.width, 1), storage), dq(out.read(), storage);
  const Memory dk(Heads(c.heads / c.group, c.keys, c.width, 1), storage), dv(dk.read(), storage);
  std::vector<float> statistics(static_cast<size_t>(2 * c.heads * c.queries)), projection(statistics.size() / 2);
  job.query = query.matrix();
  job.key = key.matrix();
  job.value = value.matrix();
  job.out = out.matrix();
  job.out_gradient = gradient.matrix();
  job.query_gradient = dq.matrix();
  job.key_gradient = dk.matrix();
  job.value_gradient = dv.matrix();
  job.statistics = statistics.data();
  job.projection = projection.data();
  AttentionPlan plan(kernels, job, storage, num_threads);
  std::atomic<int> num_tasks{0};
  {
    Guarded<float> workspace(plan.forward_workspace(), Edge::AtEnd);
    plan.forward(workspace.data(), kParallel, [&] { ++num_tasks; });
    CHECK(workspace.intact());
  }
  {
    Guarded<float> workspace(plan.backward_workspace(), Edge::AtEnd);
    plan.backward(workspace.data(), kParallel, [&] { ++num_tasks; });
    CHECK(workspace.intact());
  }
  const int64_t columns = kernels.tile_columns();
  const auto panels = [&](int64_t length) { return (length + columns - 1) / columns; };
  const auto num_groups = static_cast<int64_t>(GranuleGroups(job).weights.size());
  CHECK(num_tasks == 3 * c.heads * panels(c.queries) + c.heads / c.group * num_groups);
  CHECK((out.intact() && dq.intact() && dk.intact() && dv.intact()));
  return {out.read(), dq.read(), dk.read(), dv.read()};
}

double largest_error(const Heads& ours, const Heads& exact) {
  double error = 0;
  for (int64_t head = 0; head < exact.heads; ++head)
    for (int64_t row = 0; row < exact.rows; ++row)
      for (int64_t k = 0; k < exact.width; ++k)
        error = std::max(error, std::fabs(ours.get(head, row, k) - exact.get(head, row, k)));
  return error;
}

bool equal(const Heads& a, const Heads& b) { return a.values == b.values; }

const Case kCases[] = {{1, 1, 1, 1, 1, true, 0},        {2, 1, 5, 5, 3, true, 0.3},     {1, 1, 50, 50, 16, true, 0},
                       {2, 1, 49, 49, 17, true, 0.1},   {4, 2, 33, 33, 8, true, 0.2},   {1, 1, 7, 200, 24, true, 0.1},
                       {1, 1, 200, 7, 9, false, 0},     {6, 3, 10, 391, 5, false, 0.5}, {1, 1, 300, 300, 20, true, 0},
                       {2, 2, 197, 260, 12, true, 0.1}, {1, 1, 64, 64, 144, true, 0.1}};

}  // namespace

TEST_CASE("attention is within 3e-6 of double, gradients within 2e-5, with the same bits on every instruction set") {
  uint64_t print = fingerprint({});
  for (const Case& c : kCases) {
    CAPTURE(c.queries);
    CAPTURE(c.keys);
    Random random(static_cast<uint64_t>(c.queries * 1000 + c.keys));
    const Inputs in = make_inputs(c, random);
    const AttentionJob job = job_of(c);
    const Results exact = compute(c, job, in);
    std::vector<Results> all;
    for_every_isa<AttentionKernels>([&](const std::string& isa, const AttentionKernels& kernels) {
      CAPTURE(isa);
      const Results ours = run(kernels, c, job, in, Storage::Float32, 3);
      CHECK(largest_error(ours.out, exact.out) <= 3e-6);
      CHECK(largest_error(ours.query, exact.query) <= 2e-5);
      CHECK(largest_error(ours.key, exact.key) <= 2e-5);
      CHECK(largest_error(ours.value, exact.value) <= 2e-5);
      all.push_back(ours);
    });
    for (const Results& other : all) {
      CHECK(equal(other.out, all[0].out));
      CHECK(equal(other.query, all[0].query));
      CHECK(equal(other.key, all[0].key));
      CHECK(equal(other.value, all[0].value));
    }
    for (const Heads* heads : {&all[0].out, &all[0].query, &all[0].key, &all[0].value})
      print = fingerprint(heads->values, print);
  }
  CHECK(print == 17876746840060639564ull);  // on every machine and from every compiler
}

TEST_CASE("halves give what float32 gives for their values, rounded once") {
  const Case c = {4, 2, 70, 75, 19, true, 0.1};
  Random random(8);
  const Inputs in = make_inputs(c, random);
  const AttentionJob job = job_of(c);
  for_every_isa<AttentionKernels>([&](const std::string& isa, const AttentionKernels& kernels) {
    CAPTURE(isa);
    for (const Storage storage : {Storage::BFloat16, Storage::Float16}) {
      const auto rounded = [&](const Heads& heads) { return Memory(heads, storage).read(); };
      const Inputs half = {rounded(in.query), rounded(in.key), rounded(in.value), rounded(in.gradient)};
      const Results ours = run(kernels, c, job, half, storage, 2),
                    wide = run(kernels, c, job, half, Storage::Float32, 1);
      CHECK(equal(ours.out, rounded(wide.out)));
      // The sums of out times its gradient see the rounded out: the other two gradients differ by that.
      CHECK(equal(ours.value, rounded(wide.value)));
      CHECK(largest_error(ours.query, wide.query) <= (storage == Storage::BFloat16 ? 0.05 : 0.006));
      CHECK(largest_error(ours.key, wide.key) <= (storage == Storage::BFloat16 ? 0.05 : 0.006));
    }
  });
}

TEST_CASE("large scores neither overflow nor lose the largest") {
  const Case c = {1, 1, 40, 260, 4, false, 0};
  Random random(9);
  Inputs in = make_inputs(c, random);
  for (float& v : in.query.values) v *= 1e4f;
  const AttentionJob job = job_of(c);
  const Results exact = compute(c, job, in);
  for_every_isa<AttentionKernels>([&](const std::string& isa, const AttentionKernels& kernels) {
    CAPTURE(isa);
    CHECK(largest_error(run(kernels, c, job, in, Storage::Float32, 1).out, exact.out) <= 0.01);
  });
}

TEST_CASE("groups hold each granule once, of about equal work, and depend on shapes alone") {
  const auto groups_of = [](int64_t heads, int64_t queries, int64_t keys, bool is_causal) {
    AttentionJob job = {};
    job.num_heads = heads, job.group = 1, job.num_queries = queries, job.num_keys = keys, job.is_causal = is_causal;
    return GranuleGroups(job);
  };
  const GranuleGroups fugaku = groups_of(6, 2048, 2048, true);
  REQUIRE(fugaku.weights.size() == 8);  // 6 heads on 48 threads
  int64_t total = 0;
  for (const int64_t weight : fugaku.weights) total += weight;
  for (const int64_t weight : fugaku.weights) CHECK(weight * 8 <= total * 102 / 100);
  std::vector<int64_t> all = fugaku.granules;
  for (size_t group = 0; group < 8; ++group)
    CHECK(std::is_sorted(all.begin() + fugaku.first_granule[group], all.begin() + fugaku.first_granule[group + 1]));
  std::sort(all.begin(), all.end());
  REQUIRE(all.size() == 43);
  for (size_t i = 0; i < all.size(); ++i) CHECK(all[i] == static_cast<int64_t>(i));
  CHECK(groups_of(48, 2048, 2048, true).weights.size() == 1);
  CHECK(groups_of(5, 4096, 4096, true).weights.size() == 16);
  CHECK(groups_of(5, 1, 1, true).weights.size() == 1);
  CHECK(groups_of(4, 0, 1000, false).granules.size() == 21);
}

TEST_CASE("tasks are dealt evenly, each once") {
  std::vector<int64_t> weights;
  for (int64_t head = 0; head < 6; ++head)
    for (int64_t panel = 1; panel <= 43; ++panel) weights.push_back(48 * panel);
  const auto dealt = deal_tasks(weights, 48);
  int64_t total = 0, most = 0;
  std::vector<int> seen(weights.size());
  for (const auto& tasks : dealt) {
    int64_t load = 0;
    for (const int64_t task : tasks) load += weights[static_cast<size_t>(task)], ++seen[static_cast<size_t>(task)];
    total += load;
    most = std::max(most, load);
  }
  for (const int times : seen) CHECK(times == 1);
  CHECK(static_cast<double>(most) * 48 <= 1.01 * static_cast<double>(total));
}
