#include "vec/neon.h"

#include "kernels/copy/copy_body.h"

namespace mfugaku::kernels {
const CopyKernels copy_neon = kCopy;
}
