#include "vec/avx2.h"

#define MFUGAKU_TILE_ROWS 4
#include "kernels/gemm/gemm_body.h"

namespace mfugaku::kernels {
const GemmKernels gemm_avx2 = kGemm;
}
