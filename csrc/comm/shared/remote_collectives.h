// Collectives that read the other members' tensors out of their processes: for long tensors that lie in no arena.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "../types.h"
#include "transfer.h"

namespace mfugaku::comm::shared {

// `addresses[r]` is where rank r's tensor lies in rank r's own memory. All-reduce needs a meeting of the members after
// it, since others may still read the result of this rank's share.
std::shared_ptr<Transfer> all_reduce_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                              void* data, int64_t count, DataType type, Reduction reduction);
// `offset` and `count` of this rank's piece of each tensor, in elements. With `streams`, results are written past the
// caches; such an `out` is apart from the tensors.
std::shared_ptr<Transfer> reduce_scatter_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                                  int64_t offset, int64_t count, void* out, DataType type,
                                                  Reduction reduction, bool streams);
std::shared_ptr<Transfer> all_gather_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                              std::vector<void*> outs, std::vector<int64_t> num_bytes, bool streams);
std::shared_ptr<Transfer> broadcast_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                             int64_t num_bytes, int root, bool streams);

}  // namespace mfugaku::comm::shared
