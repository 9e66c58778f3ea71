#include "vec/portable.h"

#include "kernels/rope/rope_body.h"

namespace mfugaku::kernels {
const RopeKernels rope_portable = kRope;
}
