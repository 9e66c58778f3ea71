// Matrix products of bfloat16 matrices as the BF16 instructions of Arm compute them (FEAT_BF16: BFMMLA, BFDOT):
//
//   C[i] = alpha * (C[i] + A[i] B[i])   with or without the C[i] inside, A [rows, depth], B [depth, columns]
//
// Sums are float32, but other ones than those of gemm.h: from the beginning of depth on, two products at a time are
// added to each other and then to the element's sum, which begins with zero or with the element itself; times alpha at
// the end, rounded to C's format once. Both additions round to odd instead of to nearest, and what is below 2^-126, a
// product, a sum or an element of A or B, is zero (Arm Architecture Reference Manual for A-profile, DDI 0487, the
// pseudocode of BFMMLA, with FPCR.EBF = 0). So an element is off by at most depth * 2^-23 of the sum of its products'
// magnitudes, and depends on neither instruction set, vector length, tiling nor threads. Where a CPU has no such
// instructions, float32 stands in for them, slowly and, within a factor of 2^24 of the smallest and the largest
// float32, not to the bit.
//
// The kernels are those of gemm.h in form; A and B are bfloat16, C bfloat16 or float32.
#pragma once

#include "kernels/gemm/gemm.h"

namespace mfugaku::kernels {

struct GemmBf16Kernels {
  static constexpr const char* kOp = "gemm_bf16";
  GemmKernels gemm;
};

extern const GemmBf16Kernels gemm_bf16_portable, gemm_bf16_avx2, gemm_bf16_avx512, gemm_bf16_neon, gemm_bf16_neon_bf16,
    gemm_bf16_sve, gemm_bf16_sve_bf16;

}  // namespace mfugaku::kernels
