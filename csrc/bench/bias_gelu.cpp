#include "kernels/bias_gelu/bias_gelu.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::BiasGeluKernels;

Case make_case(bool backward, bool exact, const std::string& dtype, int64_t rows, int64_t columns,
               Kernels::Run Kernels::*kernel) {
  const int64_t count = rows * columns;
  // Forward reads x and writes the result; backward reads the gradient too.
  const std::string variant = std::string(exact ? "exact " : "") + (backward ? "backward" : "forward");
  return {Kernels::kOp, variant, dtype, {rows, columns}, "element", count,
          bytes_of(dtype) * count * (backward ? 3 : 2), [=](int64_t) -> Run {
            const auto x = make_values(count, dtype), bias = make_values(columns, dtype);
            const auto gradient = make_values(count, dtype), out = make_values(count, dtype);
            const auto run = kernels_of<Kernels>().*kernel;
            return [=](const Parallel& parallel) {
              const kernels::BiasGeluJob job = {x.get(), bias.get(), columns, gradient.get(), out.get()};
              parallel(count, kGrain, [&](int64_t begin, int64_t end) { run(job, begin, end); });
            };
          }};
}

const Declaration declaration([](Shapes shapes) {
  const bool whole = shapes == Shapes::Whole;
  const int64_t rows = whole ? 2048 : 8, columns = 3456;
  std::vector<Case> cases = {
      make_case(false, false, "float32", rows, columns, &Kernels::forward_float32),
      make_case(true, false, "float32", rows, columns, &Kernels::backward_float32),
      make_case(false, true, "float32", rows, columns, &Kernels::exact_float32),
      make_case(true, true, "float32", rows, columns, &Kernels::exact_backward_float32),
  };
  if (whole) return cases;
  cases.push_back(make_case(false, false, "bfloat16", rows, columns, &Kernels::forward_bfloat16));
  cases.push_back(make_case(false, false, "float16", rows, columns, &Kernels::forward_float16));
  cases.push_back(make_case(true, false, "bfloat16", rows, columns, &Kernels::backward_bfloat16));
  cases.push_back(make_case(true, false, "float16", rows, columns, &Kernels::backward_float16));
  return cases;
});

}  // namespace
}  // namespace mfugaku::bench
