// The table of all kernels: op, instruction set, functions.
#include "kernels/adamw/adamw.h"
#include "kernels/attention/attention.h"
#include "kernels/bias_gelu/bias_gelu.h"
#include "kernels/copy/copy.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/dropout/dropout.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm_bf16/gemm_bf16.h"
#include "kernels/gemm_fp16/gemm_fp16.h"
#include "kernels/norm/norm.h"
#include "kernels/reduce/reduce.h"
#include "kernels/registry.h"
#include "kernels/rope/rope.h"
#include "kernels/softmax/softmax.h"
#include "kernels/swiglu/swiglu.h"

namespace mfugaku::kernels {

#if defined(__x86_64__)
#define MFUGAKU_ROWS(Family, name)                                                            \
  {Family::kOp, Isa::Avx512, &name##_avx512}, {Family::kOp, Isa::Avx2, &name##_avx2},         \
      {Family::kOp, Isa::Portable, &name##_portable}
#elif defined(__aarch64__)
#define MFUGAKU_ROWS(Family, name)                                                            \
  {Family::kOp, Isa::Sve, &name##_sve}, {Family::kOp, Isa::Neon, &name##_neon},               \
      {Family::kOp, Isa::Portable, &name##_portable}
#else
#define MFUGAKU_ROWS(Family, name) {Family::kOp, Isa::Portable, &name##_portable}
#endif

namespace {

// CPUs of one instruction set differ in whether they have arithmetic of halves; SVE has that of float16 always.
std::vector<Row> list_rows() {
  std::vector<Row> rows = {
      MFUGAKU_ROWS(ReduceKernels, reduce),
      MFUGAKU_ROWS(CopyKernels, copy),
      MFUGAKU_ROWS(DropoutKernels, dropout),
      MFUGAKU_ROWS(BiasGeluKernels, bias_gelu),
      MFUGAKU_ROWS(GemmKernels, gemm),
      MFUGAKU_ROWS(GemmFp16Kernels, gemm_fp16),
      MFUGAKU_ROWS(GemmBf16Kernels, gemm_bf16),
      MFUGAKU_ROWS(AttentionKernels, attention),
      MFUGAKU_ROWS(NormKernels, norm),
      MFUGAKU_ROWS(SoftmaxKernels, softmax),
      MFUGAKU_ROWS(SwigluKernels, swiglu),
      MFUGAKU_ROWS(CrossEntropyKernels, cross_entropy),
      MFUGAKU_ROWS(AdamwKernels, adamw),
      MFUGAKU_ROWS(RopeKernels, rope),
  };
#if defined(__aarch64__)
  for (Row& row : rows) {
    if (row.kernels == &gemm_fp16_neon && neon_has_float16()) row.kernels = &gemm_fp16_neon_fp16;
    if (row.kernels == &gemm_bf16_neon && neon_has_bfloat16()) row.kernels = &gemm_bf16_neon_bf16;
    if (row.kernels == &gemm_bf16_sve && sve_has_bfloat16()) row.kernels = &gemm_bf16_sve_bf16;
  }
#endif
  return rows;
}

}  // namespace

const std::vector<Row>& table() {
  static const std::vector<Row> rows = list_rows();
  return rows;
}

}  // namespace mfugaku::kernels
