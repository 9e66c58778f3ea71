#include "kernels/cross_entropy/cross_entropy.h"

#include <vector>

#include "kernels/registry.h"
#include "ops/tiles.h"

namespace mfugaku::ops {
namespace {

// The shape of the logits without their last dimension, which must be that of the targets.
std::vector<int64_t> check_targets(const Tensor& logits, const Tensor& targets) {
  STD_TORCH_CHECK(row_length(logits) > 0, "logits must have columns.");
  STD_TORCH_CHECK(targets.scalar_type() == ScalarType::Long && targets.is_cpu(), "targets must be int64, on the CPU.");
  std::vector<int64_t> shape;
  for (int64_t d = 0; d + 1 < logits.dim(); ++d) shape.push_back(logits.size(d));
  bool fits = targets.dim() == logits.dim() - 1;
  for (int64_t d = 0; fits && d < targets.dim(); ++d) fits = targets.size(d) == shape[static_cast<size_t>(d)];
  STD_TORCH_CHECK(fits, "targets must have the shape of logits without the last dimension.");
  return shape;
}

void check_of_rows(const Tensor& values, const Tensor& targets, const char* name) {
  STD_TORCH_CHECK(values.scalar_type() == ScalarType::Float && values.is_cpu() && values.numel() == targets.numel(),
                  name, " must be float32, on the CPU, one for each target.");
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> cross_entropy(const Tensor& logits, const Tensor& targets, int64_t first_column) {
  check_type(logits, "logits");
  const auto shape = check_targets(logits, targets);
  const Tensor from = dense(logits), wanted = dense(targets);
  Tensor largest = torch::stable::new_empty(from, shape, ScalarType::Float);
  Tensor sums = torch::stable::empty_like(largest), target_logits = torch::stable::empty_like(largest);
  kernels::CrossEntropyJob job = {};
  job.logits = from.const_data_ptr();
  job.num_columns = row_length(from);
  job.targets = static_cast<const int64_t*>(wanted.const_data_ptr());
  job.first_column = first_column;
  job.largest = static_cast<float*>(largest.mutable_data_ptr());
  job.sums = static_cast<float*>(sums.mutable_data_ptr());
  job.target_logits = static_cast<float*>(target_logits.mutable_data_ptr());
  const auto& kernels = kernels::chosen<kernels::CrossEntropyKernels>();
  const auto run = by_type(logits, kernels.forward_float32, kernels.forward_bfloat16, kernels.forward_float16);
  run_in_rows(num_rows(from), job.num_columns, [&](int64_t begin, int64_t end) { run(job, begin, end); });
  return {largest, sums, target_logits};
}

void cross_entropy_backward(Tensor logits, const Tensor& targets, int64_t first_column, const Tensor& gradient,
                            const Tensor& largest, const Tensor& factors) {
  check_type(logits, "logits");
  check_targets(logits, targets);
  STD_TORCH_CHECK(logits.is_contiguous(), "logits must be contiguous, for they are overwritten.");
  check_of_rows(gradient, targets, "gradient");
  check_of_rows(largest, targets, "largest");
  check_of_rows(factors, targets, "factors");
  const Tensor wanted = dense(targets), upstream = dense(gradient);
  const Tensor highest = dense(largest), quotients = dense(factors);
  kernels::CrossEntropyJob job = {};
  job.logits = logits.const_data_ptr();
  job.num_columns = row_length(logits);
  job.targets = static_cast<const int64_t*>(wanted.const_data_ptr());
  job.first_column = first_column;
  job.largest = const_cast<float*>(static_cast<const float*>(highest.const_data_ptr()));
  job.gradient = static_cast<const float*>(upstream.const_data_ptr());
  job.factors = static_cast<const float*>(quotients.const_data_ptr());
  job.out = logits.mutable_data_ptr();
  const auto& kernels = kernels::chosen<kernels::CrossEntropyKernels>();
  const auto run = by_type(logits, kernels.backward_float32, kernels.backward_bfloat16, kernels.backward_float16);
  run_in_rows(num_rows(logits), job.num_columns, [&](int64_t begin, int64_t end) { run(job, begin, end); });
}

}  // namespace mfugaku::ops
