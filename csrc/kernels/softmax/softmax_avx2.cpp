#include "vec/avx2.h"

#include "kernels/softmax/softmax_body.h"

namespace mfugaku::kernels {
const SoftmaxKernels softmax_avx2 = kSoftmax;
}
