// Rotary position embedding (Su et al., arXiv:2104.09864) of heads, and its gradient. Of the first `rotated` elements of a
// head, pairs (a, b) are turned by the angle of their position and place, and the rest stays:
//
//   a' = a cos - b sin,   b' = b cos + a sin        with `inverse` by the negative angle, which is the gradient
//
// A pair is elements i and i + rotated / 2, or with `interleaved` 2 i and 2 i + 1. In float32 |error| <= 1.2e-7 (|a| + |b|),
// cosines and sines as given. Halves are computed in float32 and rounded once.
//
// x is [positions, batch, heads, width], its last dimension contiguous; the result is contiguous. The caller owns all
// memory and threads, and may give any task, one element of positions x batch in the order of the result, to any thread.
// Pointers need the alignment of their element only; out must not overlap x.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

struct RopeJob {
  const void* x;
  int64_t position_stride, batch_stride, head_stride;  // of x, in elements
  void* out;
  const float *cosines, *sines;  // [positions, rotated / 2]
  int64_t num_batches, num_heads, width, rotated;
  bool interleaved, inverse;
};

struct RopeKernels {
  static constexpr const char* kOp = "rope";
  using Run = void (*)(const RopeJob& job, int64_t begin, int64_t end);  // tasks [begin, end)
  Run float32, bfloat16, float16;
};

extern const RopeKernels rope_portable, rope_avx2, rope_avx512, rope_neon, rope_sve;

}  // namespace mfugaku::kernels
