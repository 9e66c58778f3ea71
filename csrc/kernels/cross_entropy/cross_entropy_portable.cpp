#include "vec/portable.h"

#include "kernels/cross_entropy/cross_entropy_body.h"

namespace mfugaku::kernels {
const CrossEntropyKernels cross_entropy_portable = kCrossEntropy;
}
