#include "vec/sve.h"

#include "kernels/copy/copy_body.h"

namespace mfugaku::kernels {
const CopyKernels copy_sve = kCopy;
}
