#include "vec/avx2.h"

#include "kernels/reduce/reduce_body.h"

namespace mfugaku::kernels {
const ReduceKernels reduce_avx2 = kReduce;
}
