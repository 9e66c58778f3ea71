#include "vec/neon.h"

#define MFUGAKU_TILE_ROWS 8
#include "kernels/attention/attention_body.h"

namespace mfugaku::kernels {
const AttentionKernels attention_neon = kAttention;
}
