#include "kernels/dropout/dropout.h"

#include "kernels/registry.h"
#include "ops/probability.h"
#include "ops/tiles.h"

namespace mfugaku::ops {

Tensor dropout(const Tensor& x, const std::optional<Tensor>& bias, const std::optional<Tensor>& residual, double p,
               int64_t seed, int64_t offset) {
  check_type(x, "x");
  if (bias) check_bias(*bias, x);
  if (residual) check_like(*residual, x, "residual");
  STD_TORCH_CHECK(p >= 0 && p < 1, "p must be at least 0 and below 1.");

  const Tensor from = dense(x);
  const auto addend = dense(bias), base = dense(residual);
  Tensor out = torch::stable::empty_like(from);
  kernels::DropoutJob job = {};
  job.x = from.const_data_ptr();
  job.bias = data_of(addend);
  job.num_columns = addend ? addend->size(0) : 1;
  job.residual = data_of(base);
  job.out = out.mutable_data_ptr();
  job.seed = static_cast<uint64_t>(seed);
  job.offset = static_cast<uint64_t>(offset);
  job.threshold = threshold_of(p);
  job.scale = static_cast<float>(1.0 / (1.0 - p));

  const auto& kernels = kernels::chosen<kernels::DropoutKernels>();
  const auto run = by_type(x, kernels.run_float32, kernels.run_bfloat16, kernels.run_float16);
  run_in_tiles(from.numel(), kernels::kDropoutGroup, [&](int64_t begin, int64_t end) { run(job, begin, end); });
  return out;
}

}  // namespace mfugaku::ops
