#include "vec/avx2.h"

#include "kernels/norm/norm_body.h"

namespace mfugaku::kernels {
const NormKernels norm_avx2 = kNorm;
}
