#include "kernels/reduce/reduce.h"
#include "kernels/registry.h"
#include "ops/tiles.h"

namespace mfugaku::ops {

void convert(const Tensor& x, const Tensor& out) {
  check_type(x, "x");
  check_type(out, "out");
  const bool is_wide = x.scalar_type() == ScalarType::Float;
  STD_TORCH_CHECK(is_wide != (out.scalar_type() == ScalarType::Float),
                  "one of x and out must be float32 and the other bfloat16 or float16.");
  STD_TORCH_CHECK(out.is_cpu() && out.is_contiguous() && out.numel() == x.numel(),
                  "out must be contiguous, on the CPU, and have as many elements as x.");
  const Tensor from = dense(x);
  const auto& kernels = kernels::chosen<kernels::ReduceKernels>();
  void* const to = out.mutable_data_ptr();
  if (is_wide) {
    const auto narrow = out.scalar_type() == ScalarType::BFloat16 ? kernels.narrow_bfloat16 : kernels.narrow_float16;
    const auto* const wide = static_cast<const float*>(from.const_data_ptr());
    run_in_tiles(x.numel(), 1, [&](int64_t begin, int64_t end) {
      narrow(wide + begin, end - begin, 1, static_cast<uint16_t*>(to) + begin);
    });
    return;
  }
  const auto widen = x.scalar_type() == ScalarType::BFloat16 ? kernels.widen_bfloat16 : kernels.widen_float16;
  const auto* const halves = static_cast<const uint16_t*>(from.const_data_ptr());
  run_in_tiles(x.numel(), 1, [&](int64_t begin, int64_t end) {
    widen(halves + begin, end - begin, static_cast<float*>(to) + begin);
  });
}

}  // namespace mfugaku::ops
