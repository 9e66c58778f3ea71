// GELU after a bias, with v = x + bias, in its tanh form and exactly (Hendrycks and Gimpel, arXiv:1606.08415):
//
//   tanh:   gelu(v) = v / 2 * (1 + tanh(u)) = v * s,   u = sqrt(2 / pi) * (v + 0.044715 v^3),   s = 1 / (1 + e^(-2 u))
//   exact:  gelu(v) = v * s,   s the normal distribution, (1 + erf(v / sqrt(2))) / 2
//
// x and what is computed from it are rows of num_columns elements; bias has num_columns elements or is null. Halves are
// computed in float32 and rounded once. In float32 |error| <= 2e-7 * max(1, |gelu(v)|) forward and <= 4e-7 * |g| backward,
// where g is the gradient; a NaN stays a NaN. From -inf on to where gelu is zero to float32, it is a negative number, below
// 1e-30 in magnitude for tanh and 1e-8 for the exact form, and its slope is below 1e-29 and 4e-8.
//
// The caller owns all memory and threads, and may give any range of elements to any thread. Pointers need the alignment of
// their element only; nothing outside the range is read or written. An output may be an input itself.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

struct BiasGeluJob {
  const void* x;
  const void* bias;  // or nullptr
  int64_t num_columns;
  const void* gradient;  // of gelu(v), for the backward kernels
  void* out;             // gelu(v), or the gradient of v
};

struct BiasGeluKernels {
  static constexpr const char* kOp = "bias_gelu";
  using Run = void (*)(const BiasGeluJob& job, int64_t begin, int64_t end);  // elements [begin, end)
  Run forward_float32, forward_bfloat16, forward_float16;
  Run backward_float32, backward_bfloat16, backward_float16;
  Run exact_float32, exact_bfloat16, exact_float16;
  Run exact_backward_float32, exact_backward_bfloat16, exact_backward_float16;
};

extern const BiasGeluKernels bias_gelu_portable, bias_gelu_avx2, bias_gelu_avx512, bias_gelu_neon, bias_gelu_sve;

}  // namespace mfugaku::kernels
