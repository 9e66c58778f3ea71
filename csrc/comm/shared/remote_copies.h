// Collectives that copy the other members' tensors out of their processes, for tensors that lie in no arena. Those that
// reduce are faster through the slots, and so are long broadcasts: all cores copy at once there.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "../types.h"
#include "transfer.h"

namespace mfugaku::comm::shared {

// `addresses[r]` is where rank r's tensor lies in rank r's own memory. With `streams`, results are written past the
// caches.
std::shared_ptr<Transfer> all_gather_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                              std::vector<void*> outs, std::vector<int64_t> num_bytes, bool streams);
std::shared_ptr<Transfer> broadcast_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                             int64_t num_bytes, int root);

}  // namespace mfugaku::comm::shared
