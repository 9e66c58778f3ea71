#include "kernels/adamw/adamw.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::AdamwKernels;

// Parameters of float32, or of halves beside them, with gradients of their own type.
Case make_case(const std::string& dtype, int64_t count, Kernels::Run Kernels::*kernel) {
  const bool has_low = dtype != "float32";
  // Parameter and moments are read and written, the gradient is read, and the halves are written.
  const int64_t num_bytes = count * (24 + bytes_of(dtype) + (has_low ? 2 : 0));
  return {Kernels::kOp, has_low ? "low" : "", dtype, {count}, "element", count, num_bytes, [=](int64_t) -> Run {
            const auto parameter = make_floats(count), first = make_floats(count), second = make_floats(count);
            const auto gradient = make_values(count, dtype), low = make_values(count, dtype);
            const auto run = kernels_of<Kernels>().*kernel;
            return [=](const Parallel& parallel) {
              kernels::AdamwJob job = {};
              job.parameter = parameter.get();
              job.gradient = gradient.get();
              job.first = first.get();
              job.second = second.get();
              job.low = has_low ? low.get() : nullptr;
              job.coefficients = kernels::adamw_coefficients(1e-4, 0.9, 0.95, 1e-8, 0.1, 10, 1, true);
              job.decoupled = true;
              parallel(count, kGrain, [&](int64_t begin, int64_t end) { run(job, begin, end); });
            };
          }};
}

const Declaration declaration([](Shapes shapes) {
  const bool whole = shapes == Shapes::Whole;
  // Whole: the weights of attention's output of one layer.
  const int64_t count = whole ? 5184 * 864 : 4 * 5184;
  std::vector<Case> cases = {make_case("float32", count, &Kernels::float32)};
  if (whole) return cases;
  cases.push_back(make_case("bfloat16", count, &Kernels::bfloat16));
  cases.push_back(make_case("float16", count, &Kernels::float16));
  return cases;
});

}  // namespace
}  // namespace mfugaku::bench
