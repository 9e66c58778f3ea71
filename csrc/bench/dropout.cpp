#include "kernels/dropout/dropout.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::DropoutKernels;
using kernels::kDropoutGroup;

// With p = 0.1, as the 13B model has. Threads share whole groups.
Case make_case(bool fused, const std::string& dtype, std::vector<int64_t> shape, Kernels::Run Kernels::*kernel) {
  const int64_t columns = shape.back();
  int64_t count = 1;
  for (const int64_t length : shape) count *= length;
  return {Kernels::kOp, fused ? "bias_residual" : "plain", dtype, std::move(shape), "element", count,
          bytes_of(dtype) * count * (fused ? 3 : 2), [=](int64_t) -> Run {
            const auto x = make_values(count, dtype), bias = make_values(columns, dtype);
            const auto residual = make_values(count, dtype), out = make_values(count, dtype);
            const auto run = kernels_of<Kernels>().*kernel;
            return [=](const Parallel& parallel) {
              kernels::DropoutJob job = {};
              job.x = x.get();
              job.bias = fused ? bias.get() : nullptr;
              job.num_columns = columns;
              job.residual = fused ? residual.get() : nullptr;
              job.out = out.get();
              job.seed = 1234;
              job.threshold = 429496730;
              job.scale = 1.0f / 0.9f;
              const int64_t num_groups = (count + kDropoutGroup - 1) / kDropoutGroup;
              parallel(num_groups, kGrain / kDropoutGroup, [&](int64_t begin, int64_t end) {
                run(job, begin * kDropoutGroup, std::min(end * kDropoutGroup, count));
              });
            };
          }};
}

const Declaration declaration([](Shapes shapes) {
  const bool whole = shapes == Shapes::Whole;
  const std::vector<int64_t> hidden = {whole ? 2048 : 4, 5184};
  std::vector<Case> cases = {
      make_case(false, "float32", hidden, &Kernels::run_float32),
      make_case(true, "float32", hidden, &Kernels::run_float32),
  };
  if (whole) {
    cases.push_back(make_case(false, "float32", {6, 2048, 2048}, &Kernels::run_float32));  // of attention
    return cases;
  }
  cases.push_back(make_case(false, "bfloat16", hidden, &Kernels::run_bfloat16));
  cases.push_back(make_case(false, "float16", hidden, &Kernels::run_float16));
  cases.push_back(make_case(true, "bfloat16", hidden, &Kernels::run_bfloat16));
  cases.push_back(make_case(true, "float16", hidden, &Kernels::run_float16));
  return cases;
});

}  // namespace
}  // namespace mfugaku::bench
