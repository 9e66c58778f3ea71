#include "vec/avx512.h"

#include "kernels/swiglu/swiglu_body.h"

namespace mfugaku::kernels {
const SwigluKernels swiglu_avx512 = kSwiglu;
}
