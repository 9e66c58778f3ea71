#include "vec/avx512.h"

#include "kernels/norm/norm_body.h"

namespace mfugaku::kernels {
const NormKernels norm_avx512 = kNorm;
}
