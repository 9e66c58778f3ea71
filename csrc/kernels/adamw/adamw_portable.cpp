#include "vec/portable.h"

#include "kernels/adamw/adamw_body.h"

namespace mfugaku::kernels {
const AdamwKernels adamw_portable = kAdamw;
}
