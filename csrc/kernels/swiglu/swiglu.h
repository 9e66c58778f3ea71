// SwiGLU (Shazeer, arXiv:2002.05202): rows of 2 F elements, of which the first F are the gate a and the others b, to rows
// of F, and its gradient. With s = 1 / (1 + e^-a):
//
//   y = a s b,   of a: g b (s + a s (1 - s)),   of b: g a s
//
// In float32 |error| <= 3e-7 * |a b| forward, and backward 4e-7 * |g b| for the gate and 3e-7 * |g a| for b. Halves are
// computed in float32 and rounded once. A NaN stays a NaN; a gate of -inf gives a number below 1e-30 in magnitude.
//
// The caller owns all memory and threads, and may give any row to any thread. `out` may be x in the backward kernels.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

struct SwigluJob {
  const void* x;
  const void* gradient;  // of y, for the backward kernels
  void* out;             // y, or the gradient of x
  int64_t num_columns;   // F
};

struct SwigluKernels {
  static constexpr const char* kOp = "swiglu";
  using Run = void (*)(const SwigluJob& job, int64_t begin, int64_t end);  // rows [begin, end)
  Run forward_float32, forward_bfloat16, forward_float16;
  Run backward_float32, backward_bfloat16, backward_float16;
};

extern const SwigluKernels swiglu_portable, swiglu_avx2, swiglu_avx512, swiglu_neon, swiglu_sve;

}  // namespace mfugaku::kernels
