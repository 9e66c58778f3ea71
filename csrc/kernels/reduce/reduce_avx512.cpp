#include "vec/avx512.h"

#include "kernels/reduce/reduce_body.h"

namespace mfugaku::kernels {
const ReduceKernels reduce_avx512 = kReduce;
}
