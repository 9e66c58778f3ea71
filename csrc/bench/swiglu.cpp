#include "kernels/swiglu/swiglu.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::SwigluKernels;

// Per element of y, of which x has two.
Case make_case(bool backward, const std::string& dtype, int64_t rows, int64_t columns, Kernels::Run Kernels::*kernel) {
  const int64_t count = rows * columns;
  return {Kernels::kOp, backward ? "backward" : "forward", dtype, {rows, columns}, "element", count,
          bytes_of(dtype) * count * (backward ? 5 : 3), [=](int64_t) -> Run {
            const auto x = make_values(2 * count, dtype), gradient = make_values(count, dtype);
            const auto out = make_values(2 * count, dtype);
            const auto run = kernels_of<Kernels>().*kernel;
            return [=](const Parallel& parallel) {
              const kernels::SwigluJob job = {x.get(), gradient.get(), out.get(), columns};
              parallel(rows, std::max<int64_t>(1, kGrain / columns),
                       [&](int64_t begin, int64_t end) { run(job, begin, end); });
            };
          }};
}

const Declaration declaration([](Shapes shapes) {
  const bool whole = shapes == Shapes::Whole;
  const int64_t rows = whole ? 2048 : 8, columns = 3456;
  std::vector<Case> cases = {
      make_case(false, "float32", rows, columns, &Kernels::forward_float32),
      make_case(true, "float32", rows, columns, &Kernels::backward_float32),
  };
  if (whole) return cases;
  cases.push_back(make_case(false, "bfloat16", rows, columns, &Kernels::forward_bfloat16));
  cases.push_back(make_case(true, "bfloat16", rows, columns, &Kernels::backward_bfloat16));
  return cases;
});

}  // namespace
}  // namespace mfugaku::bench
