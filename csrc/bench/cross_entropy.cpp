#include "kernels/cross_entropy/cross_entropy.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::CrossEntropyKernels;

// Both passes: the loss reads the logits, and the gradient is written over them.
Case make_case(const std::string& dtype, int64_t rows, int64_t columns, Kernels::Run Kernels::*forward,
               Kernels::Run Kernels::*backward) {
  const int64_t count = rows * columns;
  return {Kernels::kOp, "both", dtype, {rows, columns}, "element", count, bytes_of(dtype) * count * 3,
          [=](int64_t) -> Run {
            const auto logits = make_values(count, dtype);
            const auto targets = make_array<int64_t>(rows);
            for (int64_t row = 0; row < rows; ++row) targets.get()[row] = row * 37 % columns;
            const auto largest = make_floats(rows), sums = make_floats(rows), chosen = make_floats(rows);
            const auto gradient = make_floats(rows), factors = make_floats(rows), out = make_floats(count);
            const auto first = kernels_of<Kernels>().*forward, second = kernels_of<Kernels>().*backward;
            return [=](const Parallel& parallel) {
              kernels::CrossEntropyJob job = {};
              job.logits = logits.get();
              job.num_columns = columns;
              job.targets = targets.get();
              job.largest = largest.get();
              job.sums = sums.get();
              job.target_logits = chosen.get();
              job.gradient = gradient.get();
              job.factors = factors.get();
              job.out = out.get();
              const int64_t grain = std::max<int64_t>(1, kGrain / columns);
              parallel(rows, grain, [&](int64_t begin, int64_t end) { first(job, begin, end); });
              parallel(rows, grain, [&](int64_t begin, int64_t end) { second(job, begin, end); });
            };
          }};
}

const Declaration declaration([](Shapes shapes) {
  const bool whole = shapes == Shapes::Whole;
  const int64_t columns = 10112;  // of 60,672 padded tokens
  if (whole)
    return std::vector<Case>{
        make_case("float32", 2048, columns, &Kernels::forward_float32, &Kernels::backward_float32)};
  return std::vector<Case>{
      make_case("float32", 2, columns, &Kernels::forward_float32, &Kernels::backward_float32),
      make_case("bfloat16", 2, columns, &Kernels::forward_bfloat16, &Kernels::backward_bfloat16),
      make_case("float16", 2, columns, &Kernels::forward_float16, &Kernels::backward_float16),
  };
});

}  // namespace
}  // namespace mfugaku::bench
