#include "vec/avx2.h"

#include "kernels/rope/rope_body.h"

namespace mfugaku::kernels {
const RopeKernels rope_avx2 = kRope;
}
