#include "vec/sve.h"

#include "kernels/swiglu/swiglu_body.h"

namespace mfugaku::kernels {
const SwigluKernels swiglu_sve = kSwiglu;
}
