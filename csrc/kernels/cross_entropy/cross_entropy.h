// Cross-entropy of rows of logits, of which every rank may hold some columns, without a second copy of them.
//
// Forward, of each row the largest logit, the sum of e^(x_j - largest), and the logit of its target, 0 where the target
// is in another rank's columns: from those of all ranks the loss is log(sum) + largest - target. Backward, with the
// largest of all ranks and, for each row, factor = g / sum:
//
//   of x_j: factor e^(x_j - largest) - (g where j is the target)
//
// In float32 the relative error of a sum is below 6e-7, and that of e^-d factor below 3e-7 + 8e-8 d, most of it that of
// d = largest - x_j; powers below e^-86 count as e^-86. Halves are computed in float32 and gradients rounded once.
// Sums have one order for any vector length.
//
// The caller owns all memory and threads, and may give any row to any thread. `out` may be `logits`.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

struct CrossEntropyJob {
  const void* logits;
  int64_t num_columns;  // of this rank, > 0
  const int64_t* targets;  // of each row, a column of all ranks'
  int64_t first_column;  // of this rank
  float* largest;  // one for each row, as are the others
  float* sums;
  float* target_logits;

  // Backward only.
  const float* gradient;
  const float* factors;
  void* out;
};

struct CrossEntropyKernels {
  static constexpr const char* kOp = "cross_entropy";
  using Run = void (*)(const CrossEntropyJob& job, int64_t begin, int64_t end);  // rows [begin, end)
  Run forward_float32, forward_bfloat16, forward_float16;
  Run backward_float32, backward_bfloat16, backward_float16;
};

extern const CrossEntropyKernels cross_entropy_portable, cross_entropy_avx2, cross_entropy_avx512, cross_entropy_neon,
    cross_entropy_sve;

}  // namespace mfugaku::kernels
