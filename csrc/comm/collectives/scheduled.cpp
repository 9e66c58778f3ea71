#include "scheduled.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "../executor.h"

namespace mfugaku::comm {
namespace {

std::shared_ptr<Poll> execute(Group& group, const schedule::Choice& choice, const schedule::Task& task,
                              const Data& data) {
  schedule::Schedule schedule = choice.build(task, size_of(data.type), group.ranks_per_node());
  std::unique_ptr<Transport> transport = group.new_transport(schedule.num_strands);
  return std::make_shared<Executor>(std::move(schedule), std::move(transport), data);
}

// The longest type of which all blocks are whole numbers, so that no slice begins in the middle of an element.
DataType type_of_blocks(const std::vector<int64_t>& num_bytes) {
  for (const DataType type : {DataType::Complex128, DataType::Int64, DataType::Int32, DataType::Int16})
    if (std::all_of(num_bytes.begin(), num_bytes.end(), [&](int64_t n) { return n % size_of(type) == 0; })) return type;
  return DataType::UInt8;
}

}  // namespace

const schedule::Choice& choose(const Group& group, schedule::Collective collective, int64_t num_bytes, DataType type,
                               bool mpi_can, DataType wire) {
  return schedule::ChoiceTable::instance().choose({collective, num_bytes, group.size(), is_half(type), mpi_can,
                                                   group.ranks_per_node(), is_half(wire), group.lanes()});
}

bool goes_by_mpi(const Group& group, schedule::Collective collective, int64_t num_bytes, DataType type) {
  if (group.channel() || group.size() == 1) return false;
  if (collective == schedule::Collective::AllGather) type = DataType::UInt8;  // it moves bytes
  const bool mpi_can = collective == schedule::Collective::AllReduce ||
                       (!is_half(type) && num_bytes / group.size() / size_of(type) <= Engine::instance().max_count());
  return choose(group, collective, num_bytes, type, mpi_can).algorithm == schedule::Algorithm::Mpi;
}

std::shared_ptr<Poll> scheduled_all_reduce(Group& group, const schedule::Choice& choice, void* data, int64_t count,
                                           DataType type, Reduction reduction, double scale, DataType wire) {
  return execute(group, choice, schedule::all_reduce_task(group.rank(), group.size(), count),
                 {data, data, type, reduction, scale, {wire, is_half(wire)}, count, count});
}

std::shared_ptr<Poll> scheduled_reduce_scatter(Group& group, const schedule::Choice& choice, const void* input,
                                               const std::vector<int64_t>& counts, void* out, DataType type,
                                               Reduction reduction, double scale, DataType wire) {
  return execute(group, choice, {schedule::Collective::ReduceScatter, group.rank(), counts},
                 {input, out, type, reduction, scale, {wire, false},
                  std::accumulate(counts.begin(), counts.end(), int64_t{0}),
                  counts[static_cast<size_t>(group.rank())]});
}

std::shared_ptr<Poll> scheduled_all_gather(Group& group, const schedule::Choice& choice, const void* data,
                                           const std::vector<int64_t>& num_bytes, void* out) {
  const DataType type = type_of_blocks(num_bytes);
  std::vector<int64_t> counts;
  for (const int64_t bytes : num_bytes) counts.push_back(bytes / size_of(type));
  const int64_t own = counts[static_cast<size_t>(group.rank())];
  const int64_t all = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  return execute(group, choice, {schedule::Collective::AllGather, group.rank(), std::move(counts)},
                 {data, out, type, Reduction::Sum, 1.0, {}, own, all});
}

}  // namespace mfugaku::comm
