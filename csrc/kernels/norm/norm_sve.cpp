#include "vec/sve.h"

#include "kernels/norm/norm_body.h"

namespace mfugaku::kernels {
const NormKernels norm_sve = kNorm;
}
