#include "vec/avx512.h"

#define MFUGAKU_TILE_ROWS 8
#include "kernels/gemm/gemm_body.h"

namespace mfugaku::kernels {
const GemmKernels gemm_avx512 = kGemm;
}
