#include "kernels/gemm/gemm_run.h"
#include "kernels/gemm_bf16/gemm_bf16.h"
#include "kernels/gemm_fp16/gemm_fp16_run.h"
#include "kernels/registry.h"
#include "ops/storage.h"
#include "ops/tiles.h"
#include "ops/workspace.h"

namespace mfugaku::ops {
namespace {

void check_matrices(const Tensor& x, const char* name) {
  check_type(x, name);
  STD_TORCH_CHECK(x.is_cpu(), name, " must be on the CPU.");
  STD_TORCH_CHECK(x.dim() == 3, name, " must have three dimensions: batch, rows, columns.");
}

bool has_contiguous_rows(const Tensor& x) { return x.size(2) <= 1 || x.stride(2) == 1; }
bool has_contiguous_columns(const Tensor& x) { return x.size(1) <= 1 || x.stride(1) == 1; }

kernels::GemmOperand operand(const Tensor& x) {
  return {x.const_data_ptr(), storage_of(x), x.stride(0), x.stride(1), x.stride(2)};
}

// With kernels of gemm.h or gemm_fp16.h, and their plan.
template <typename Plan, typename Kernels>
void run(const Kernels& kernels, const Tensor& a, const Tensor& b, const Tensor& out, double alpha, bool accumulate) {
  const kernels::GemmProblem problem = {out.size(0),
                                        out.size(1),
                                        out.size(2),
                                        a.size(2),
                                        operand(a),
                                        operand(b),
                                        out.mutable_data_ptr(),
                                        storage_of(out),
                                        out.stride(0),
                                        out.stride(1),
                                        static_cast<float>(alpha),
                                        accumulate};
  const Plan plan(kernels, problem);
  plan.run(workspace(plan.workspace()),
           [](int64_t count, int64_t grain, const auto& body) { run_in_tiles_of(count, grain, body); });
}

template <typename Plan, typename Kernels>
void multiply(const Kernels& kernels, const Tensor& a, const Tensor& b, const Tensor& out, double alpha,
              bool accumulate) {
  check_matrices(a, "a");
  check_matrices(b, "b");
  check_matrices(out, "out");
  STD_TORCH_CHECK(a.scalar_type() == b.scalar_type(), "a and b must have the same dtype.");
  STD_TORCH_CHECK(out.scalar_type() == a.scalar_type() || out.scalar_type() == ScalarType::Float,
                  "out must have the dtype of a and b, or float32.");
  STD_TORCH_CHECK(a.size(0) == b.size(0) && a.size(0) == out.size(0) && a.size(1) == out.size(1) &&
                      b.size(2) == out.size(2) && a.size(2) == b.size(1),
                  "a, b and out must be [batch, rows, depth], [batch, depth, columns] and [batch, rows, columns].");
  STD_TORCH_CHECK(!accumulate || alpha == 1.0, "a product that is added to out cannot be scaled.");
  const Tensor left = has_contiguous_rows(a) || has_contiguous_columns(a) ? a : dense(a);
  const Tensor right = has_contiguous_rows(b) || has_contiguous_columns(b) ? b : dense(b);
  if (has_contiguous_rows(out)) return run<Plan>(kernels, left, right, out, alpha, accumulate);
  STD_TORCH_CHECK(has_contiguous_columns(out), "out must be contiguous along its rows or its columns.");
  const auto turned = [](const Tensor& x) { return torch::stable::transpose(x, 1, 2); };
  run<Plan>(kernels, turned(right), turned(left), turned(out), alpha, accumulate);
}

}  // namespace

void gemm(const Tensor& a, const Tensor& b, const Tensor& out, double alpha, bool accumulate) {
  multiply<kernels::GemmPlan>(kernels::chosen<kernels::GemmKernels>(), a, b, out, alpha, accumulate);
}

void gemm_fp16(const Tensor& a, const Tensor& b, const Tensor& out, double alpha, bool accumulate) {
  STD_TORCH_CHECK(a.scalar_type() == ScalarType::Half, "a must be float16, in which its products are added up.");
  multiply<kernels::GemmFp16Plan>(kernels::chosen<kernels::GemmFp16Kernels>(), a, b, out, alpha, accumulate);
}

void gemm_bf16(const Tensor& a, const Tensor& b, const Tensor& out, double alpha, bool accumulate) {
  STD_TORCH_CHECK(a.scalar_type() == ScalarType::BFloat16, "a must be bfloat16, which BF16 instructions multiply.");
  multiply<kernels::GemmPlan>(kernels::chosen<kernels::GemmBf16Kernels>().gemm, a, b, out, alpha, accumulate);
}

}  // namespace mfugaku::ops
