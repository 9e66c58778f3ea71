// Layer normalisation (Ba et al., arXiv:1607.06450) and root-mean-square normalisation (Zhang and Sennrich,
// arXiv:1910.07467) of rows of num_columns elements, and their gradients:
//
//   y = weight * (x - mean) * rstd + bias,   rstd = 1 / sqrt(mean((x - mean)^2) + eps);   root mean square: mean = 0
//
// With a residual the rows are x + residual, rounded to the format of x once, and are returned too; what comes from elsewhere
// as their gradient is added to that of the norm before it is rounded.
//
// Squares are summed of differences from a number near the mean, so that a large mean costs the deviation no digits. In
// float32 |error| <= 1e-6 max(1, |y|) where the mean is a few deviations at most, and that of the gradient of x is below
// 1e-6 of its largest term.
// Halves are computed in float32 and rounded once. All sums have one order for any vector length, and sums over rows one
// for any number of threads: the rows of a block are added in order, and the caller adds the blocks.
//
// The caller owns all memory and threads; rows of a forward pass and blocks of a backward pass may go to any thread.
// Pointers need the alignment of their element only. `out` may be x itself forward, and the gradient backward.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

struct NormJob {
  const void* x;
  const void* weight;
  const void* bias;  // or nullptr; forward only
  int64_t num_columns;
  float eps;
  float* means;  // of each row, not used for the root mean square; written forward, read backward
  float* rstds;
  void* out;  // y, or the gradient of x

  // Forward only, with a residual.
  const void* residual;  // or nullptr
  void* sum;             // x + residual; may be either of them

  // Backward only.
  const void* gradient;  // of y
  int64_t num_rows;
  int64_t num_blocks;  // of rows, as even as can be
  float* sums;         // of each block num_columns sums for the weight, and as many for the bias where it has one
  bool wants_bias;
  const void* of_sum;  // the gradient of the rows from elsewhere, or nullptr; `out` may be it
};

// How many blocks the rows of a backward pass are best added up in, whatever the number of threads: few enough to add
// their sums up at little cost, and a multiple of the numbers of cores that processors have: 48, 72, 144.
inline int64_t blocks_of_rows(int64_t num_rows) {
  constexpr int64_t kLeastRows = 14, kMostBlocks = 144;
  const int64_t num_blocks = (num_rows + kLeastRows - 1) / kLeastRows;
  return num_blocks < kMostBlocks ? num_blocks : kMostBlocks;
}

struct NormKernels {
  static constexpr const char* kOp = "norm";
  using Run = void (*)(const NormJob& job, int64_t begin, int64_t end);  // rows, or blocks, [begin, end)
  Run layer_float32, layer_bfloat16, layer_float16;
  Run layer_backward_float32, layer_backward_bfloat16, layer_backward_float16;
  Run rms_float32, rms_bfloat16, rms_float16;
  Run rms_backward_float32, rms_backward_bfloat16, rms_backward_float16;
};

extern const NormKernels norm_portable, norm_avx2, norm_avx512, norm_neon, norm_sve;

}  // namespace mfugaku::kernels
