#include "vec/avx512.h"

#include "kernels/gemm_bf16/gemm_bf16_emulated.h"

namespace mfugaku::kernels {
const GemmBf16Kernels gemm_bf16_avx512 = kGemmBf16;
}
