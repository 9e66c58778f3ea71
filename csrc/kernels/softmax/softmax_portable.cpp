#include "vec/portable.h"

#include "kernels/softmax/softmax_body.h"

namespace mfugaku::kernels {
const SoftmaxKernels softmax_portable = kSoftmax;
}
