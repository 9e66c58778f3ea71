// Long computations in tiles, with something else to do between two of them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "ops/arguments.h"

namespace mfugaku::ops {

// What is called between two tiles, from any of torch's threads; null: nothing.
extern std::atomic<void (*)()> between_tiles;

inline void call_what_is_between() {
  if (void (*const call)() = between_tiles.load(std::memory_order_relaxed)) call();
}

// Runs `body(begin, end)` over a range on torch's threads, in ranges of `tile`.
template <typename Body> void run_in_tiles_of(int64_t count, int64_t tile, const Body& body) {
  torch::stable::parallel_for(0, count, tile, [&](int64_t first, int64_t last) {
    for (int64_t begin = first; begin < last; begin += tile) {
      body(begin, std::min(begin + tile, last));
      call_what_is_between();
    }
  });
}

// Runs `kernel(begin, end)` over elements. `group`: elements that only go together.
template <typename Kernel> void run_in_tiles(int64_t count, int64_t group, const Kernel& kernel) {
  run_in_tiles_of((count + group - 1) / group, kGrain / group, [&](int64_t begin, int64_t end) {
    kernel(begin * group, std::min(end * group, count));
  });
}

// Runs `kernel(begin, end)` over rows of `length` elements.
template <typename Kernel> void run_in_rows(int64_t num_rows, int64_t length, const Kernel& kernel) {
  run_in_tiles_of(num_rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, length)), kernel);
}

}  // namespace mfugaku::ops
