#include "vec/avx512.h"

#include "kernels/adamw/adamw_body.h"

namespace mfugaku::kernels {
const AdamwKernels adamw_avx512 = kAdamw;
}
