#include "vec/neon.h"

#include "kernels/rope/rope_body.h"

namespace mfugaku::kernels {
const RopeKernels rope_neon = kRope;
}
