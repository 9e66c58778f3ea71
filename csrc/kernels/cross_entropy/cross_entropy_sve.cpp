#include "vec/sve.h"

#include "kernels/cross_entropy/cross_entropy_body.h"

namespace mfugaku::kernels {
const CrossEntropyKernels cross_entropy_sve = kCrossEntropy;
}
