// The dtype of a tensor in the kernels' word.
#pragma once

#include "kernels/gemm/gemm.h"
#include "ops/arguments.h"

namespace mfugaku::ops {

inline kernels::Storage storage_of(const Tensor& x) {
  return by_type(x, kernels::Storage::Float32, kernels::Storage::BFloat16, kernels::Storage::Float16);
}

}  // namespace mfugaku::ops
