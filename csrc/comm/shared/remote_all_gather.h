// An all-gather that reads the other members' tensors out of their processes: for long tensors that lie in no arena.
// Other collectives are faster through the slots, where all cores copy at once and what they copy stays in the caches.
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

}  // namespace mfugaku::comm::shared
