#include "vec/neon.h"

#include "kernels/softmax/softmax_body.h"

namespace mfugaku::kernels {
const SoftmaxKernels softmax_neon = kSoftmax;
}
