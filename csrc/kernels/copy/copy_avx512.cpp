#include "vec/avx512.h"

#include "kernels/copy/copy_body.h"

namespace mfugaku::kernels {
const CopyKernels copy_avx512 = kCopy;
}
