#include "vec/avx512.h"

#include "kernels/rope/rope_body.h"

namespace mfugaku::kernels {
const RopeKernels rope_avx512 = kRope;
}
