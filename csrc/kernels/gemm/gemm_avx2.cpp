#include "vec/avx2.h"

#define MFUGAKU_TILE_ROWS 4
#define MFUGAKU_TILE_LOOKS_AHEAD
#include "kernels/gemm/gemm_body.h"

namespace mfugaku::kernels {
// Half a second cache of 512 KiB.
const GemmKernels gemm_avx2 = with_slices(kGemm, 512, 256 << 10);
}  // namespace mfugaku::kernels
