#include "vec/neon.h"

#include "kernels/reduce/reduce_body.h"

namespace mfugaku::kernels {
const ReduceKernels reduce_neon = kReduce;
}
