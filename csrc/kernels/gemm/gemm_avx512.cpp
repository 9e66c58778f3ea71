#include "vec/avx512.h"

#define MFUGAKU_TILE_ROWS 8
#define MFUGAKU_TILE_LOOKS_AHEAD
#include "kernels/gemm/gemm_body.h"

namespace mfugaku::kernels {
// Half a second cache of 2 MiB.
const GemmKernels gemm_avx512 = with_slices(kGemm, 1024, 1 << 20);
}  // namespace mfugaku::kernels
