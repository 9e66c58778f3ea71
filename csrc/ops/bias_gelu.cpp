#include "kernels/bias_gelu/bias_gelu.h"

#include "kernels/registry.h"
#include "ops/tiles.h"

namespace mfugaku::ops {
namespace {

Tensor run(const Tensor& x, const std::optional<Tensor>& bias, const std::optional<Tensor>& gradient,
           kernels::BiasGeluKernels::Run kernel) {
  const Tensor from = dense(x);
  const auto addend = dense(bias), upstream = dense(gradient);
  Tensor out = torch::stable::empty_like(from);
  const kernels::BiasGeluJob job = {from.const_data_ptr(), data_of(addend), addend ? addend->size(0) : 1,
                                    data_of(upstream), out.mutable_data_ptr()};
  run_in_tiles(from.numel(), 1, [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
  return out;
}

}  // namespace

Tensor bias_gelu(const Tensor& x, const std::optional<Tensor>& bias, bool exact) {
  check_type(x, "x");
  if (bias) check_bias(*bias, x);
  const auto& kernels = kernels::chosen<kernels::BiasGeluKernels>();
  return run(x, bias, std::nullopt,
             exact ? by_type(x, kernels.exact_float32, kernels.exact_bfloat16, kernels.exact_float16)
                   : by_type(x, kernels.forward_float32, kernels.forward_bfloat16, kernels.forward_float16));
}

Tensor bias_gelu_backward(const Tensor& gradient, const Tensor& x, const std::optional<Tensor>& bias, bool exact) {
  check_type(x, "x");
  check_like(gradient, x, "gradient");
  if (bias) check_bias(*bias, x);
  const auto& kernels = kernels::chosen<kernels::BiasGeluKernels>();
  return run(x, bias, gradient,
             exact ? by_type(x, kernels.exact_backward_float32, kernels.exact_backward_bfloat16,
                             kernels.exact_backward_float16)
                   : by_type(x, kernels.backward_float32, kernels.backward_bfloat16, kernels.backward_float16));
}

}  // namespace mfugaku::ops
