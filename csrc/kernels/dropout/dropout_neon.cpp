#include "vec/neon.h"

#include "kernels/dropout/dropout_body.h"

namespace mfugaku::kernels {
const DropoutKernels dropout_neon = kDropout;
}
