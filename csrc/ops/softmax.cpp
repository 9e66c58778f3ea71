#include "kernels/softmax/softmax.h"

#include <vector>

#include "kernels/registry.h"
#include "ops/tiles.h"

namespace mfugaku::ops {
namespace {

kernels::SoftmaxJob job_for(const Tensor& x, double scale, bool causal) {
  STD_TORCH_CHECK(scale > 0, "scale must be above 0.");
  kernels::SoftmaxJob job = {};
  job.num_columns = row_length(x);
  job.causal = causal;
  job.scale = static_cast<float>(scale);
  if (causal) {
    STD_TORCH_CHECK(x.dim() > 1 && x.size(x.dim() - 2) <= job.num_columns,
                    "a causal softmax needs matrices with at most as many rows as columns.");
    job.num_queries = x.size(x.dim() - 2);
  }
  return job;
}

}  // namespace

Tensor softmax(const Tensor& x, double scale, bool causal) {
  check_type(x, "x");
  kernels::SoftmaxJob job = job_for(x, scale, causal);
  const Tensor from = dense(x);
  Tensor out = torch::stable::empty_like(from);
  job.x = from.const_data_ptr();
  job.out = out.mutable_data_ptr();
  const auto& kernels = kernels::chosen<kernels::SoftmaxKernels>();
  const auto run = by_type(x, kernels.forward_float32, kernels.forward_bfloat16, kernels.forward_float16);
  const bool needs_buffer = x.scalar_type() != ScalarType::Float;
  run_in_rows(num_rows(x), job.num_columns, [&](int64_t begin, int64_t end) {
    std::vector<float> buffer(needs_buffer ? static_cast<size_t>(job.num_columns) : 0);
    run(job, begin, end, buffer.data());
  });
  return out;
}

Tensor softmax_backward(const Tensor& gradient, const Tensor& y, double scale, bool causal) {
  check_type(y, "y");
  check_like(gradient, y, "gradient");
  kernels::SoftmaxJob job = job_for(y, scale, causal);
  const Tensor from = dense(y), upstream = dense(gradient);
  Tensor out = torch::stable::empty_like(from);
  job.x = from.const_data_ptr();
  job.gradient = upstream.const_data_ptr();
  job.out = out.mutable_data_ptr();
  const auto& kernels = kernels::chosen<kernels::SoftmaxKernels>();
  const auto run = by_type(y, kernels.backward_float32, kernels.backward_bfloat16, kernels.backward_float16);
  run_in_rows(num_rows(y), job.num_columns, [&](int64_t begin, int64_t end) { run(job, begin, end); });
  return out;
}

}  // namespace mfugaku::ops
