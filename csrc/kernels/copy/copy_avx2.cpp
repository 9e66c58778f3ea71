#include "vec/avx2.h"

#include "kernels/copy/copy_body.h"

namespace mfugaku::kernels {
const CopyKernels copy_avx2 = kCopy;
}
