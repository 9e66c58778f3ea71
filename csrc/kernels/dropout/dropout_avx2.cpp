#include "vec/avx2.h"

#include "kernels/dropout/dropout_body.h"

namespace mfugaku::kernels {
const DropoutKernels dropout_avx2 = kDropout;
}
