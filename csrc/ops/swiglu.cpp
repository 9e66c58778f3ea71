#include "kernels/swiglu/swiglu.h"

#include <vector>

#include "kernels/registry.h"
#include "ops/tiles.h"

namespace mfugaku::ops {
namespace {

// The shape of swiglu(x).
std::vector<int64_t> halved(const Tensor& x) {
  STD_TORCH_CHECK(row_length(x) % 2 == 0, "the last dimension of x must be even.");
  std::vector<int64_t> shape;
  for (int64_t d = 0; d < x.dim(); ++d) shape.push_back(x.size(d));
  shape.back() /= 2;
  return shape;
}

}  // namespace

Tensor swiglu(const Tensor& x) {
  check_type(x, "x");
  const Tensor from = dense(x);
  Tensor out = torch::stable::new_empty(from, halved(x));
  const kernels::SwigluJob job = {from.const_data_ptr(), nullptr, out.mutable_data_ptr(), row_length(x) / 2};
  const auto& kernels = kernels::chosen<kernels::SwigluKernels>();
  const auto run = by_type(x, kernels.forward_float32, kernels.forward_bfloat16, kernels.forward_float16);
  run_in_rows(num_rows(x), job.num_columns, [&](int64_t begin, int64_t end) { run(job, begin, end); });
  return out;
}

Tensor swiglu_backward(const Tensor& gradient, const Tensor& x) {
  check_type(x, "x");
  const auto shape = halved(x);
  STD_TORCH_CHECK(gradient.scalar_type() == x.scalar_type() && gradient.is_cpu(),
                  "gradient must have the dtype of x and be on the CPU.");
  bool fits = gradient.dim() == x.dim();
  for (int64_t d = 0; fits && d < x.dim(); ++d) fits = gradient.size(d) == shape[static_cast<size_t>(d)];
  STD_TORCH_CHECK(fits, "gradient must have the shape of x with half of its last dimension.");
  const Tensor from = dense(x), upstream = dense(gradient);
  Tensor out = torch::stable::empty_like(from);
  const kernels::SwigluJob job = {from.const_data_ptr(), upstream.const_data_ptr(), out.mutable_data_ptr(),
                                  row_length(x) / 2};
  const auto& kernels = kernels::chosen<kernels::SwigluKernels>();
  const auto run = by_type(x, kernels.backward_float32, kernels.backward_bfloat16, kernels.backward_float16);
  run_in_rows(num_rows(x), job.num_columns, [&](int64_t begin, int64_t end) { run(job, begin, end); });
  return out;
}

}  // namespace mfugaku::ops
