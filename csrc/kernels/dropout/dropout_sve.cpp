#include "vec/sve.h"

#include "kernels/dropout/dropout_body.h"

namespace mfugaku::kernels {
const DropoutKernels dropout_sve = kDropout;
}
