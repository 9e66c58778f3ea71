#include "vec/sve_fp16.h"

#include "kernels/gemm_fp16/gemm_fp16_body.h"

namespace mfugaku::kernels {
const GemmFp16Kernels gemm_fp16_sve = kGemmFp16;
}
