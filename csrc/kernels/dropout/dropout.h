// Dropout, alone or with a bias before and a residual behind it:
//
//   out[i] = residual[i] + (kept(i) ? scale * (x[i] + bias[i % num_columns]) : 0)
//
// without the terms whose pointer is null. Halves are computed in float32 and rounded once. What is dropped is exactly 0,
// even where x is infinite or a NaN. The gradient of x is the same call on the gradient of out, without bias and residual.
//
// kept(i) depends on seed, offset and i alone, so that a mask is the same for every instruction set, vector length and
// split into ranges, and is computed again rather than stored. It comes from Philox4x32-10 (Salmon et al., "Parallel
// random numbers: as easy as 1, 2, 3", SC 2011) with key = seed and counter = (block, offset), two 64-bit numbers of
// which the first stands in the low words: with g = i / 256 and r = i % 256, block is 64 g + r % 64, and word r / 64 of
// the result decides: i is kept when word >= threshold, which drops with probability threshold / 2^32.
//
// The caller owns all memory and threads. A range begins at a multiple of kDropoutGroup. Pointers need the alignment of
// their element only; nothing outside the range is read or written. out may be x or residual itself, and no other
// overlap is allowed.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

constexpr int64_t kDropoutGroup = 256;

struct DropoutJob {
  const void* x;
  const void* bias;  // num_columns elements, or nullptr
  int64_t num_columns;
  const void* residual;  // as many as x, or nullptr
  void* out;
  uint64_t seed, offset;
  uint32_t threshold;
  float scale;
};

struct DropoutKernels {
  static constexpr const char* kOp = "dropout";
  using Run = void (*)(const DropoutJob& job, int64_t begin, int64_t end);  // elements [begin, end)
  Run run_float32, run_bfloat16, run_float16;
};

extern const DropoutKernels dropout_portable, dropout_avx2, dropout_avx512, dropout_neon, dropout_sve;

}  // namespace mfugaku::kernels
