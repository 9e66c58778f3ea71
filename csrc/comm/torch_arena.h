// Tensors in the arena: made there on demand, or by torch itself.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace mfugaku::comm {

// Makes the arena, if it is not there; returns why there is none, or an empty text.
std::string open_arena(int64_t capacity_bytes);
bool is_arena_shared();

// A one-dimensional uninitialised tensor. Throws when there is no arena or no room in it.
at::Tensor arena_empty(int64_t count, const at::Tensor& like);
bool arena_holds(const at::Tensor& tensor);

// From now on, torch makes new CPU tensors of at least `min_bytes` in the arena, while there is room; -1: none. Either
// those of the calling thread or those of all threads; a thread's own number, where it is not -1, comes first. Returns
// the number that held before. The first call takes the place of torch's allocator of CPU memory, for good: it does all
// other work as before.
int64_t place_in_arena(int64_t min_bytes, bool this_thread_alone);

}  // namespace mfugaku::comm
