#include "vec/sve_bf16.h"

#include "kernels/gemm_bf16/gemm_bf16_body.h"

namespace mfugaku::kernels {
const GemmBf16Kernels gemm_bf16_sve_bf16 = kGemmBf16;
}
