#include "vec/avx2.h"

#include "kernels/cross_entropy/cross_entropy_body.h"

namespace mfugaku::kernels {
const CrossEntropyKernels cross_entropy_avx2 = kCrossEntropy;
}
