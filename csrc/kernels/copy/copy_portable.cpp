#include "vec/portable.h"

#include "kernels/copy/copy_body.h"

namespace mfugaku::kernels {
const CopyKernels copy_portable = kCopy;
}
