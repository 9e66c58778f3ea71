// Which way the collectives of a group go between nodes, and those by a schedule.
#pragma once

#include <memory>
#include <vector>

#include "../group.h"
#include "../schedule/choice.h"
#include "../types.h"

namespace mfugaku::comm {

// The rule for a collective; `mpi_can` and `wire` as in schedule::Case.
const schedule::Choice& choose(const Group& group, schedule::Collective collective, int64_t num_bytes, DataType type,
                               bool mpi_can, DataType wire = DataType::Float32);

// What is to be looked after until an all-reduce of `data`, in place, is over. Messages carry `wire` (wire.h).
std::shared_ptr<Poll> scheduled_all_reduce(Group& group, const schedule::Choice& choice, void* data, int64_t count,
                                           DataType type, Reduction reduction, double scale, DataType wire);
// `input` holds the pieces one after the other. `out` may be this rank's piece, but may not overlap them otherwise.
std::shared_ptr<Poll> scheduled_reduce_scatter(Group& group, const schedule::Choice& choice, const void* input,
                                               const std::vector<int64_t>& counts, void* out, DataType type,
                                               Reduction reduction, double scale, DataType wire);
// `data` may be its own place in `out`, but may not overlap it otherwise.
std::shared_ptr<Poll> scheduled_all_gather(Group& group, const schedule::Choice& choice, const void* data,
                                           const std::vector<int64_t>& num_bytes, void* out);

}  // namespace mfugaku::comm
