#include <vector>

#include "kernels/reduce/reduce.h"
#include "kernels/registry.h"
#include "ops/tiles.h"

namespace mfugaku::ops {

Tensor sum_of_squares(const Tensor& x) {
  check_type(x, "x");
  const Tensor from = dense(x);
  const auto& kernels = kernels::chosen<kernels::ReduceKernels>();
  const auto squares = by_type(x, kernels.squares_float32, kernels.squares_bfloat16, kernels.squares_float16);
  const auto size = x.scalar_type() == ScalarType::Float ? sizeof(float) : sizeof(uint16_t);
  const auto* const elements = static_cast<const char*>(from.const_data_ptr());
  // One number for each tile, whoever computes it, and these in their order.
  static_assert(kGrain % kernels::kSquares == 0, "tiles of whole sums");
  std::vector<double> parts(static_cast<size_t>((x.numel() + kGrain - 1) / kGrain));
  run_in_tiles_of(static_cast<int64_t>(parts.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile)
      parts[static_cast<size_t>(tile)] = squares(elements + static_cast<size_t>(tile * kGrain) * size,
                                                 std::min(kGrain, x.numel() - tile * kGrain));
  });
  Tensor out = torch::stable::new_empty(from, std::vector<int64_t>{}, ScalarType::Double);
  double total = 0;
  for (const double part : parts) total += part;
  *static_cast<double*>(out.mutable_data_ptr()) = total;
  return out;
}

}  // namespace mfugaku::ops
