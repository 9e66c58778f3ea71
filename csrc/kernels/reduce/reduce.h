// Sums over pieces of memory and the conversions around them: the arithmetic of reductions over MPI.
//
// The caller owns all memory and threads; nothing is allocated and any range of elements may be given to any thread.
// Pointers need the alignment of their element only. Nothing outside the given elements is read or written. An output
// may be the very same memory as an input of the same element size; partial overlap is not allowed. Halves are summed
// in float32, in the order of the pieces, and rounded once, to nearest even. Results are the same bits for every
// instruction set and any split into ranges, but for which NaN a NaN is.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

constexpr int64_t kSquares = 2048;

struct ReduceKernels {
  static constexpr const char* kOp = "reduce";

  // out[i] = scale * (pieces[0][i] + pieces[1][i] + ...) for i < count; num_pieces >= 1. Scale 1 is no multiplication.
  using Sum = void (*)(const void* const* pieces, int64_t num_pieces, int64_t count, double scale, void* out);
  Sum sum_float32, sum_float64, sum_bfloat16, sum_float16;

  // out[i] = in[i], exactly.
  using Widen = void (*)(const uint16_t* in, int64_t count, float* out);
  Widen widen_bfloat16, widen_float16;

  // out[i] = scale * in[i], rounded to float32 and then to the half.
  using Narrow = void (*)(const float* in, int64_t count, double scale, uint16_t* out);
  Narrow narrow_bfloat16, narrow_float16;

  // The sum of the squares of `count` elements: float32 sums of kSquares elements each, in the order of vec/rows.h, added
  // up in double one after the other. Relative error below 3e-6, and below 3e-7 for numbers in no particular order.
  using Squares = double (*)(const void* in, int64_t count);
  Squares squares_float32, squares_bfloat16, squares_float16;

  // values[i] *= scale.
  void (*scale_float32)(float* values, int64_t count, double scale);
  void (*scale_float64)(double* values, int64_t count, double scale);
};

extern const ReduceKernels reduce_portable, reduce_avx2, reduce_avx512, reduce_neon, reduce_sve;

}  // namespace mfugaku::kernels
