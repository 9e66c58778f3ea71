#include "vec/avx512.h"

#include "kernels/softmax/softmax_body.h"

namespace mfugaku::kernels {
const SoftmaxKernels softmax_avx512 = kSoftmax;
}
