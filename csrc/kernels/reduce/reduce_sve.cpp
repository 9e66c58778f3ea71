#include "vec/sve.h"

#include "kernels/reduce/reduce_body.h"

namespace mfugaku::kernels {
const ReduceKernels reduce_sve = kReduce;
}
