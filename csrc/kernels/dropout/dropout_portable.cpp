#include "vec/portable.h"

#include "kernels/dropout/dropout_body.h"

namespace mfugaku::kernels {
const DropoutKernels dropout_portable = kDropout;
}
