// The collectives that pass through shared memory. Each returns what is to be looked after until it is over; sizes and
// arguments are those of ../collectives/collectives.h, with at least one element or byte to move.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "../types.h"
#include "channel.h"

namespace mfugaku::comm::shared {

std::shared_ptr<Poll> all_reduce(std::shared_ptr<Channel> channel, void* data, int64_t count, DataType type,
                                 Reduction reduction);
// Only the root's `data` receives the result; the others' stay as they are.
std::shared_ptr<Poll> reduce(std::shared_ptr<Channel> channel, void* data, int64_t count, DataType type,
                             Reduction reduction, int root);
// `out` may be this rank's piece, but may not overlap the pieces in another way.
std::shared_ptr<Poll> reduce_scatter(std::shared_ptr<Channel> channel, const std::vector<const void*>& pieces,
                                     const std::vector<int64_t>& counts, void* out, DataType type,
                                     Reduction reduction);
// `data` may be this rank's place among `outs`, but may not overlap them in another way.
std::shared_ptr<Poll> all_gather(std::shared_ptr<Channel> channel, const void* data, const std::vector<void*>& outs,
                                 const std::vector<int64_t>& num_bytes);
std::shared_ptr<Poll> broadcast(std::shared_ptr<Channel> channel, void* data, int64_t num_bytes, int root);
std::shared_ptr<Poll> barrier(std::shared_ptr<Channel> channel);

}  // namespace mfugaku::comm::shared
