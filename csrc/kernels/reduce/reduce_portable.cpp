#include "vec/portable.h"

#include "kernels/reduce/reduce_body.h"

namespace mfugaku::kernels {
const ReduceKernels reduce_portable = kReduce;
}
