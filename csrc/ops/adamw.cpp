#include "kernels/adamw/adamw.h"

#include "kernels/registry.h"
#include "ops/tiles.h"

namespace mfugaku::ops {
namespace {

void check_state(const Tensor& state, const Tensor& parameter, const char* name) {
  STD_TORCH_CHECK(state.scalar_type() == ScalarType::Float, name, " must be float32.");
  check_like(state, parameter, name);
  STD_TORCH_CHECK(state.is_contiguous(), name, " must be contiguous, for it is overwritten.");
}

}  // namespace

void adamw(const Tensor& parameter, const Tensor& gradient, const Tensor& first, const Tensor& second,
           const std::optional<Tensor>& low, double lr, double beta1, double beta2, double eps, double weight_decay,
           int64_t step, double scale, bool decoupled) {
  check_state(parameter, parameter, "parameter");
  check_state(first, parameter, "first");
  check_state(second, parameter, "second");
  STD_TORCH_CHECK(step >= 1, "step must be at least 1.");
  check_type(gradient, "gradient");
  const bool is_wide = gradient.scalar_type() == ScalarType::Float;
  STD_TORCH_CHECK(gradient.is_cpu() && gradient.numel() == parameter.numel(),
                  "gradient must be on the CPU and have as many elements as parameter.");
  STD_TORCH_CHECK(low || is_wide, "a gradient of halves needs parameters of halves.");
  if (low) {
    check_type(*low, "low");
    STD_TORCH_CHECK(low->scalar_type() != ScalarType::Float, "low must be bfloat16 or float16.");
    STD_TORCH_CHECK(is_wide || low->scalar_type() == gradient.scalar_type(), "low must have the dtype of gradient.");
    STD_TORCH_CHECK(low->is_cpu() && low->is_contiguous() && low->numel() == parameter.numel(),
                    "low must be contiguous, on the CPU, and have as many elements as parameter.");
  }
  const Tensor upstream = dense(gradient);
  kernels::AdamwJob job = {};
  job.parameter = static_cast<float*>(parameter.mutable_data_ptr());
  job.gradient = upstream.const_data_ptr();
  job.first = static_cast<float*>(first.mutable_data_ptr());
  job.second = static_cast<float*>(second.mutable_data_ptr());
  job.low = low ? low->mutable_data_ptr() : nullptr;
  job.coefficients = kernels::adamw_coefficients(lr, beta1, beta2, eps, weight_decay, step, scale, decoupled);
  job.decoupled = decoupled;
  const auto& kernels = kernels::chosen<kernels::AdamwKernels>();
  const auto run = low && is_wide ? by_type(*low, kernels.float32, kernels.float32_to_bfloat16,
                                            kernels.float32_to_float16)
                                  : by_type(gradient, kernels.float32, kernels.bfloat16, kernels.float16);
  run_in_tiles(parameter.numel(), 1, [&](int64_t begin, int64_t end) { run(job, begin, end); });
}

}  // namespace mfugaku::ops
