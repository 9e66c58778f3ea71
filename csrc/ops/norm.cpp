#include "kernels/norm/norm.h"

#include <vector>

#include "kernels/reduce/reduce.h"
#include "kernels/registry.h"
#include "ops/tiles.h"

namespace mfugaku::ops {
namespace {

void check_vector(const Tensor& vector, const Tensor& x, const char* name) {
  STD_TORCH_CHECK(vector.scalar_type() == x.scalar_type(), name, " must have the dtype of x.");
  STD_TORCH_CHECK(vector.is_cpu(), name, " must be on the CPU.");
  STD_TORCH_CHECK(vector.dim() == 1 && vector.size(0) == row_length(x), name,
                  " must have one dimension, the last of x.");
}

// out[i] = the sum of all blocks' i-th sum, blocks in order.
void add_blocks(const float* sums, int64_t num_blocks, int64_t stride, int64_t count, const Tensor& out) {
  const auto& kernels = kernels::chosen<kernels::ReduceKernels>();
  const int64_t tile = std::max<int64_t>(64, kGrain / num_blocks);
  run_in_tiles_of(count, tile, [&](int64_t begin, int64_t end) {
    std::vector<const void*> pieces;
    for (int64_t block = 0; block < num_blocks; ++block) pieces.push_back(sums + block * stride + begin);
    if (out.scalar_type() == ScalarType::Float) {
      auto* const sums_of_all = static_cast<float*>(out.mutable_data_ptr()) + begin;
      kernels.sum_float32(pieces.data(), num_blocks, end - begin, 1, sums_of_all);
      return;
    }
    std::vector<float> wide(static_cast<size_t>(end - begin));
    kernels.sum_float32(pieces.data(), num_blocks, end - begin, 1, wide.data());
    const auto narrow =
        out.scalar_type() == ScalarType::BFloat16 ? kernels.narrow_bfloat16 : kernels.narrow_float16;
    narrow(wide.data(), end - begin, 1, static_cast<uint16_t*>(out.mutable_data_ptr()) + begin);
  });
}

// The norm of what `job` says of x or of x + residual, and its statistics.
std::tuple<Tensor, Tensor> run_forward(kernels::NormJob job, const Tensor& x, const Tensor& weight,
                                       const std::optional<Tensor>& bias, double eps, bool centered) {
  check_type(x, "x");
  check_vector(weight, x, "weight");
  if (bias) check_vector(*bias, x, "bias");
  const Tensor from = dense(x), scale = dense(weight);
  const auto addend = dense(bias);
  const int64_t rows = num_rows(x);
  Tensor out = torch::stable::empty_like(from);
  Tensor statistics = torch::stable::new_empty(from, {centered ? 2 : 1, rows}, ScalarType::Float);

  job.x = from.const_data_ptr();
  job.weight = scale.const_data_ptr();
  job.bias = data_of(addend);
  job.num_columns = row_length(x);
  job.eps = static_cast<float>(eps);
  job.means = static_cast<float*>(statistics.mutable_data_ptr());
  job.rstds = job.means + (centered ? rows : 0);
  job.out = out.mutable_data_ptr();
  const auto& kernels = kernels::chosen<kernels::NormKernels>();
  const auto run = centered ? by_type(x, kernels.layer_float32, kernels.layer_bfloat16, kernels.layer_float16)
                            : by_type(x, kernels.rms_float32, kernels.rms_bfloat16, kernels.rms_float16);
  run_in_rows(rows, job.num_columns, [&](int64_t begin, int64_t end) { run(job, begin, end); });
  return {out, statistics};
}

std::tuple<Tensor, Tensor, Tensor> run_backward(kernels::NormJob job, const Tensor& gradient, const Tensor& x,
                                                const Tensor& weight, const Tensor& statistics, bool centered,
                                                bool wants_bias) {
  check_type(x, "x");
  check_like(gradient, x, "gradient");
  check_vector(weight, x, "weight");
  const int64_t rows = num_rows(x), columns = row_length(x);
  STD_TORCH_CHECK(statistics.scalar_type() == ScalarType::Float && statistics.is_contiguous() &&
                      statistics.numel() == (centered ? 2 : 1) * rows,
                  "statistics must be what the forward pass returned.");
  const Tensor upstream = dense(gradient), from = dense(x), scale = dense(weight);
  Tensor of_x = torch::stable::empty_like(from);
  Tensor of_weight = torch::stable::new_empty(scale, {columns});
  Tensor of_bias = torch::stable::new_empty(scale, {wants_bias ? columns : 0});
  if (rows == 0) return {of_x, torch::stable::zero_(of_weight), torch::stable::zero_(of_bias)};

  const int64_t num_blocks = kernels::blocks_of_rows(rows);
  const int64_t stride = (wants_bias ? 2 : 1) * columns;
  Tensor sums = torch::stable::new_empty(from, {num_blocks, stride}, ScalarType::Float);
  job.x = from.const_data_ptr();
  job.weight = scale.const_data_ptr();
  job.num_columns = columns;
  job.means = const_cast<float*>(static_cast<const float*>(statistics.const_data_ptr()));
  job.rstds = job.means + (centered ? rows : 0);
  job.out = of_x.mutable_data_ptr();
  job.gradient = upstream.const_data_ptr();
  job.num_rows = rows;
  job.num_blocks = num_blocks;
  job.sums = static_cast<float*>(sums.mutable_data_ptr());
  job.wants_bias = wants_bias;
  const auto& kernels = kernels::chosen<kernels::NormKernels>();
  const auto run =
      centered ? by_type(x, kernels.layer_backward_float32, kernels.layer_backward_bfloat16,
                         kernels.layer_backward_float16)
               : by_type(x, kernels.rms_backward_float32, kernels.rms_backward_bfloat16, kernels.rms_backward_float16);
  run_in_rows(num_blocks, columns * (rows / num_blocks), [&](int64_t begin, int64_t end) { run(job, begin, end); });
  add_blocks(job.sums, num_blocks, stride, columns, of_weight);
  if (wants_bias) add_blocks(job.sums + columns, num_blocks, stride, columns, of_bias);
  return {of_x, of_weight, of_bias};
}

}  // namespace

std::tuple<Tensor, Tensor> norm(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, double eps,
                                bool centered) {
  return run_forward({}, x, weight, bias, eps, centered);
}

std::tuple<Tensor, Tensor, Tensor> norm_backward(const Tensor& gradient, const Tensor& x, const Tensor& weight,
                                                 const Tensor& statistics, bool centered, bool wants_bias) {
  return run_backward({}, gradient, x, weight, statistics, centered, wants_bias);
}

std::tuple<Tensor, Tensor, Tensor> norm_residual(const Tensor& x, const Tensor& residual, const Tensor& weight,
                                                 const std::optional<Tensor>& bias, double eps, bool centered) {
  check_type(x, "x");
  check_like(residual, x, "residual");
  const Tensor addend = dense(residual);
  Tensor sum = torch::stable::empty_like(addend);
  kernels::NormJob job = {};
  job.residual = addend.const_data_ptr();
  job.sum = sum.mutable_data_ptr();
  const auto [out, statistics] = run_forward(job, x, weight, bias, eps, centered);
  return {out, sum, statistics};
}

std::tuple<Tensor, Tensor, Tensor> norm_residual_backward(const Tensor& gradient, const Tensor& of_sum,
                                                          const Tensor& sum, const Tensor& weight,
                                                          const Tensor& statistics, bool centered, bool wants_bias) {
  check_like(of_sum, sum, "gradient of the sum");
  const Tensor others = dense(of_sum);
  kernels::NormJob job = {};
  job.of_sum = others.const_data_ptr();
  return run_backward(job, gradient, sum, weight, statistics, centered, wants_bias);
}

}  // namespace mfugaku::ops
