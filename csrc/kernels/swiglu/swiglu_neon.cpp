#include "vec/neon.h"

#include "kernels/swiglu/swiglu_body.h"

namespace mfugaku::kernels {
const SwigluKernels swiglu_neon = kSwiglu;
}
