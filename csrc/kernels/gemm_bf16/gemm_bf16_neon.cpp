#include "vec/neon.h"

#include "kernels/gemm_bf16/gemm_bf16_emulated.h"

namespace mfugaku::kernels {
const GemmBf16Kernels gemm_bf16_neon = kGemmBf16;
}
