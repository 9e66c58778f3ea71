#include "ops/tiles.h"

namespace mfugaku::ops {

std::atomic<void (*)()> between_tiles{nullptr};

void call_between_tiles(int64_t function) {
  between_tiles.store(reinterpret_cast<void (*)()>(static_cast<intptr_t>(function)));
}

}  // namespace mfugaku::ops
