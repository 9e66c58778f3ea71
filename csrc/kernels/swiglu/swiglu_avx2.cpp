#include "vec/avx2.h"

#include "kernels/swiglu/swiglu_body.h"

namespace mfugaku::kernels {
const SwigluKernels swiglu_avx2 = kSwiglu;
}
