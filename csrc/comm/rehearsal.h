// A collective of any number of ranks within this process: their schedules and the core's arithmetic without MPI, to
// see what results are like where a job of so many ranks is not at hand.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "schedule/schedule.h"
#include "wire.h"

namespace mfugaku::comm {

// The results of a sum of float32, by rank. `inputs[r]` is the whole vector that rank r gives, all of a length;
// `collective` is AllReduce or ReduceScatter. Throws std::logic_error when the schedules never come to an end.
std::vector<std::vector<float>> rehearse_sum(schedule::Collective collective,
                                             const std::vector<std::vector<float>>& inputs,
                                             const std::function<schedule::Schedule(const schedule::Task&)>& build,
                                             const Wire& wire);

// How far results are from the sum in float64: the largest and the root mean square difference, both over the root mean
// square of the sums.
struct SumError {
  double largest, rms;
};

// Of the all-reduce of `count` standard normal numbers from each of `num_ranks` ranks, the same ones in every call.
SumError error_of_all_reduce(int num_ranks, int64_t count,
                             const std::function<schedule::Schedule(const schedule::Task&)>& build, DataType wire);

}  // namespace mfugaku::comm
