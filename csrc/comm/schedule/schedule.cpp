#include "schedule.h"

namespace mfugaku::comm::schedule {

Task all_reduce_task(int rank, int size, int64_t count) {
  Task task{Collective::AllReduce, rank, {}};
  for (int i = 0; i < size; ++i) task.counts.push_back(cut(count, size, i + 1) - cut(count, size, i));
  return task;
}

std::vector<int64_t> begins_of(const std::vector<int64_t>& counts) {
  std::vector<int64_t> begins(counts.size() + 1, 0);
  for (size_t i = 0; i < counts.size(); ++i) begins[i + 1] = begins[i] + counts[i];
  return begins;
}

}  // namespace mfugaku::comm::schedule
