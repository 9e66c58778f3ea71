// What a probability of dropping is to the kernels.
#pragma once

#include <cmath>
#include <cstdint>

namespace mfugaku::ops {

// 32 random bits below this drop. 0 <= p < 1, rounded to a multiple of 2^-32.
inline uint32_t threshold_of(double p) {
  const double threshold = std::nearbyint(p * 0x1p32);
  return threshold >= 0x1p32 ? ~0u : static_cast<uint32_t>(threshold);
}

}  // namespace mfugaku::ops
