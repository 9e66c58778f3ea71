#include "vec/sve.h"

#include "kernels/softmax/softmax_body.h"

namespace mfugaku::kernels {
const SoftmaxKernels softmax_sve = kSoftmax;
}
