#include "vec/avx512.h"

#include "kernels/dropout/dropout_body.h"

namespace mfugaku::kernels {
const DropoutKernels dropout_avx512 = kDropout;
}
