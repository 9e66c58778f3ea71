#include "kernels/bias_gelu/bias_gelu.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::BiasGeluKernels;

Case make_case(bool backward, const std::string& dtype, int64_t rows, int64_t columns, Kernels::Run Kernels::*kernel) {
  const int64_t count = rows * columns;
  // Forward reads x and writes the result; backward reads the gradient too.
  return {Kernels::kOp, backward ? "backward" : "forward", dtype, {rows, columns}, "element", count,
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

const Declaration declaration([](bool whole) {
  const int64_t rows = whole ? 2048 : 8, columns = 3456;
  std::vector<Case> cases = {
      make_case(false, "float32", rows, columns, &Kernels::forward_float32),
      make_case(true, "float32", rows, columns, &Kernels::backward_float32),
  };
  if (whole) return cases;
  cases.push_back(make_case(false, "bfloat16", rows, columns, &Kernels::forward_bfloat16));
  cases.push_back(make_case(false, "float16", rows, columns, &Kernels::forward_float16));
  cases.push_back(make_case(true, "bfloat16", rows, columns, &Kernels::backward_bfloat16));
  cases.push_back(make_case(true, "float16", rows, columns, &Kernels::backward_float16));
  return cases;
});

}  // namespace
}  // namespace mfugaku::bench
