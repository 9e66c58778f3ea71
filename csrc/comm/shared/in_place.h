// Collectives that read the other members' tensors where they lie, when these lie in the members' arenas.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "../types.h"
#include "transfer.h"

namespace mfugaku::comm::shared {

// Every member tells the others where its tensor lies, and all go on alike: in place when all tensors lie in arenas, by
// remote reads when there are any, else through the slots.
struct Ways {
  std::function<std::shared_ptr<Transfer>(std::vector<char*> tensors)> in_place;
  std::function<std::shared_ptr<Transfer>()> through_slots;
  std::function<std::shared_ptr<Transfer>(std::vector<char*> addresses)> by_remote_reads = nullptr;
};

// From this size on, the members tell each other where their tensors lie, which costs waiting for each other once more.
constexpr int64_t kMinOfferedBytes = 64 * 1024;

// `data` has `num_bytes`, or is null when the tensor is not one block of memory. `ticket` is the collective's, which
// has kMinOfferedBytes and more. Where there is no other way, it goes through the slots at once.
std::shared_ptr<Poll> offer(std::shared_ptr<Channel> channel, const Ticket& ticket, const void* data,
                            int64_t num_bytes, Ways ways);

// `tensors[r]` is rank r's tensor as this process sees it. `root`: who is to have the result, or Transfer::kAll.
std::shared_ptr<Transfer> all_reduce_in_place(std::shared_ptr<Channel> channel, std::vector<char*> tensors,
                                              int64_t count, DataType type, Reduction reduction, int root);
// With `streams`, results are written past the caches; such an `out` is apart from the tensors.
// `offset` and `count` of this rank's piece of each tensor, in elements.
std::shared_ptr<Transfer> reduce_scatter_in_place(std::shared_ptr<Channel> channel, const std::vector<char*>& tensors,
                                                  int64_t offset, int64_t count, void* out, DataType type,
                                                  Reduction reduction, bool streams);
// `outs` and `num_bytes` by rank; nothing is copied where this rank's tensor is its own place.
std::shared_ptr<Transfer> all_gather_in_place(std::shared_ptr<Channel> channel, std::vector<char*> tensors,
                                              std::vector<void*> outs, std::vector<int64_t> num_bytes, bool streams);
std::shared_ptr<Transfer> broadcast_in_place(std::shared_ptr<Channel> channel, std::vector<char*> tensors,
                                             int64_t num_bytes, int root, bool streams);

}  // namespace mfugaku::comm::shared
