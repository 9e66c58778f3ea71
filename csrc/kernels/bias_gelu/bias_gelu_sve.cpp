#include "vec/sve.h"

#include "kernels/bias_gelu/bias_gelu_body.h"

namespace mfugaku::kernels {
const BiasGeluKernels bias_gelu_sve = kBiasGelu;
}
