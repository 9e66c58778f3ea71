#include "vec/avx2.h"

#define MFUGAKU_TILE_ROWS 4
#include "kernels/attention/attention_body.h"

namespace mfugaku::kernels {
const AttentionKernels attention_avx2 = kAttention;
}
