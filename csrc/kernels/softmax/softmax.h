// Softmax of scaled rows, whole or seen causally, and its gradient:
//
//   y_j = e^(scale x_j - m) / sum_k e^(scale x_k - m),   m = scale max_k x_k
//   of x: scale y_j (g_j - sum_k g_k y_k)
//
// over the columns that a row sees: all of them, or with `causal` those up to its own, where the rows are num_queries for
// each matrix and the last one sees all columns. What a row does not see is 0 in y and in the gradient, and is not read.
// A row that sees nothing is 0.
//
// With d = scale (max x - x_j), a float32, the error of y is below (5e-7 + 8e-8 d) y + 5e-38: most of it is that of d.
// Where d reaches 86, y is 0. A NaN among the columns that a row sees, or +inf, makes them all NaN, and so does -inf in all
// of them. Halves are computed in float32 and rounded once. Sums have one order for any vector length.
//
// The caller owns all memory and threads. `out` may be x or the gradient itself.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

struct SoftmaxJob {
  const void* x;  // or y, for the backward kernels
  const void* gradient;  // of y, for the backward kernels
  void* out;  // y, or the gradient of x
  int64_t num_columns;
  int64_t num_queries;  // rows of a matrix, at most num_columns; with causal only
  bool causal;
  float scale;  // > 0
};

constexpr int64_t kSoftmaxBlock = 16;

struct SoftmaxKernels {
  static constexpr const char* kOp = "softmax";
  // Tasks [begin, end) of as many as there are rows, each one row. With causal, blocks of long and of short rows take
  // turns, so that equal shares of the tasks are equal work, and rows of a block follow one another in memory. `buffer` holds num_columns floats; float32 does without.
  using Forward = void (*)(const SoftmaxJob& job, int64_t begin, int64_t end, float* buffer);
  Forward forward_float32, forward_bfloat16, forward_float16;
  using Backward = void (*)(const SoftmaxJob& job, int64_t begin, int64_t end);
  Backward backward_float32, backward_bfloat16, backward_float16;
};

extern const SoftmaxKernels softmax_portable, softmax_avx2, softmax_avx512, softmax_neon, softmax_sve;

}  // namespace mfugaku::kernels
