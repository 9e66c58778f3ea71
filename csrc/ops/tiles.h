// Long computations in tiles, with something else to do between two of them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "ops/arguments.h"

namespace mfugaku::ops {

// What is called between two tiles, from any of torch's threads; null: nothing.
extern std::atomic<void (*)()> between_tiles;

// Runs `kernel(begin, end)` over a range on torch's threads. `group`: elements that only go together.
template <typename Kernel> void run_in_tiles(int64_t count, int64_t group, const Kernel& kernel) {
  const int64_t num_groups = (count + group - 1) / group, tile = kGrain / group;
  torch::stable::parallel_for(0, num_groups, tile, [&](int64_t first, int64_t last) {
    void (*const call)() = between_tiles.load(std::memory_order_relaxed);
    for (int64_t begin = first; begin < last; begin += tile) {
      kernel(begin * group, std::min(std::min(begin + tile, last) * group, count));
      if (call != nullptr) call();
    }
  });
}

}  // namespace mfugaku::ops
