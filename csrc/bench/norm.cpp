#include "kernels/norm/norm.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::NormKernels;

// Of layers with weight and bias, of the root mean square with weight. With a residual one operand more is read;
// forward the sum is written.
Case make_case(bool layer, bool residual, bool backward, const std::string& dtype, int64_t rows, int64_t columns,
               Kernels::Run Kernels::*kernel) {
  const int64_t count = rows * columns, num_blocks = kernels::blocks_of_rows(rows);
  const std::string variant = std::string(layer ? "layer" : "rms") + (residual ? " residual" : "") +
                              (backward ? " backward" : " forward");
  const int64_t num_arrays = backward ? 3 + residual : 2 + 2 * residual;
  return {Kernels::kOp, variant, dtype, {rows, columns}, "element", count, bytes_of(dtype) * count * num_arrays,
          [=](int64_t) -> Run {
            const auto x = make_values(count, dtype), weight = make_values(columns, dtype);
            const auto bias = make_values(columns, dtype), out = make_values(count, dtype);
            const auto gradient = make_values(count, dtype);
            const auto other = residual ? make_values(count, dtype) : nullptr;
            const auto sum = residual && !backward ? make_values(count, dtype) : nullptr;
            const auto means = make_floats(rows), rstds = make_floats(rows);
            const auto sums = make_floats(2 * columns * num_blocks);
            const auto run = kernels_of<Kernels>().*kernel;
            return [=](const Parallel& parallel) {
              kernels::NormJob job = {};
              job.x = x.get();
              job.weight = weight.get();
              job.bias = layer && !backward ? bias.get() : nullptr;
              job.num_columns = columns;
              job.eps = 1e-5f;
              job.means = means.get();
              job.rstds = rstds.get();
              job.out = out.get();
              job.gradient = gradient.get();
              job.num_rows = rows;
              job.num_blocks = num_blocks;
              job.sums = sums.get();
              job.wants_bias = layer;
              job.residual = backward ? nullptr : other.get();
              job.sum = sum.get();
              job.of_sum = backward ? other.get() : nullptr;
              const int64_t rows_of_a_tile = std::max<int64_t>(1, kGrain / columns);
              parallel(backward ? num_blocks : rows, backward ? 1 : rows_of_a_tile,
                       [&](int64_t begin, int64_t end) { run(job, begin, end); });
            };
          }};
}

const Declaration declaration([](Shapes shapes) {
  const bool whole = shapes == Shapes::Whole;
  const int64_t rows = whole ? 2048 : 16, columns = 5184;
  std::vector<Case> cases = {
      make_case(true, false, false, "float32", rows, columns, &Kernels::layer_float32),
      make_case(true, false, true, "float32", rows, columns, &Kernels::layer_backward_float32),
      make_case(false, false, false, "float32", rows, columns, &Kernels::rms_float32),
      make_case(false, false, true, "float32", rows, columns, &Kernels::rms_backward_float32),
  };
  if (whole) return cases;
  cases.push_back(make_case(true, false, false, "bfloat16", rows, columns, &Kernels::layer_bfloat16));
  cases.push_back(make_case(true, false, true, "bfloat16", rows, columns, &Kernels::layer_backward_bfloat16));
  cases.push_back(make_case(false, false, false, "bfloat16", rows, columns, &Kernels::rms_bfloat16));
  cases.push_back(make_case(false, false, true, "bfloat16", rows, columns, &Kernels::rms_backward_bfloat16));
  cases.push_back(make_case(true, true, false, "float32", rows, columns, &Kernels::layer_float32));
  cases.push_back(make_case(true, true, true, "float32", rows, columns, &Kernels::layer_backward_float32));
  cases.push_back(make_case(false, true, false, "float32", rows, columns, &Kernels::rms_float32));
  cases.push_back(make_case(false, true, true, "float32", rows, columns, &Kernels::rms_backward_float32));
  return cases;
});

}  // namespace
}  // namespace mfugaku::bench
