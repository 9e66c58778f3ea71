#include "kernels/rope/rope.h"

#include <vector>

#include "kernels/registry.h"
#include "ops/tiles.h"

namespace mfugaku::ops {
namespace {

void check_table(const Tensor& table, const Tensor& x, const char* name) {
  STD_TORCH_CHECK(table.scalar_type() == ScalarType::Float && table.is_cpu() && table.is_contiguous(), name,
                  " must be float32, on the CPU and contiguous.");
  STD_TORCH_CHECK(table.dim() == 2 && table.size(0) == x.size(0) && 2 * table.size(1) <= x.size(3), name,
                  " must be [positions of x, pairs of a head or fewer].");
}

}  // namespace

Tensor rope(const Tensor& x, const Tensor& cosines, const Tensor& sines, bool interleaved, bool inverse) {
  check_type(x, "x");
  STD_TORCH_CHECK(x.dim() == 4, "x must be [positions, batch, heads, width].");
  check_table(cosines, x, "cosines");
  check_table(sines, x, "sines");
  STD_TORCH_CHECK(cosines.size(1) == sines.size(1), "cosines and sines must be as many.");
  const Tensor from = x.size(3) <= 1 || x.stride(3) == 1 ? x : dense(x);
  Tensor out = torch::stable::new_empty(from, std::vector<int64_t>{x.size(0), x.size(1), x.size(2), x.size(3)});
  kernels::RopeJob job = {};
  job.x = from.const_data_ptr();
  job.position_stride = from.stride(0);
  job.batch_stride = from.stride(1);
  job.head_stride = from.stride(2);
  job.out = out.mutable_data_ptr();
  job.cosines = static_cast<const float*>(cosines.const_data_ptr());
  job.sines = static_cast<const float*>(sines.const_data_ptr());
  job.num_batches = x.size(1);
  job.num_heads = x.size(2);
  job.width = x.size(3);
  job.rotated = 2 * cosines.size(1);
  job.interleaved = interleaved;
  job.inverse = inverse;
  const auto& kernels = kernels::chosen<kernels::RopeKernels>();
  const auto run = by_type(x, kernels.float32, kernels.bfloat16, kernels.float16);
  run_in_rows(x.size(0) * x.size(1), x.size(2) * x.size(3),
              [&](int64_t begin, int64_t end) { run(job, begin, end); });
  return out;
}

}  // namespace mfugaku::ops
