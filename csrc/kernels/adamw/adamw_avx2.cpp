#include "vec/avx2.h"

#include "kernels/adamw/adamw_body.h"

namespace mfugaku::kernels {
const AdamwKernels adamw_avx2 = kAdamw;
}
