#include "kernels/reduce/reduce.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::ReduceKernels;

// The sum of two pieces, as every step of a ring computes it.
Case make_sum(const std::string& dtype, int64_t count, Kernels::Sum Kernels::*kernel) {
  return {Kernels::kOp, "sum", dtype, {count}, "element", count, bytes_of(dtype) * count * 3, [=](int64_t) -> Run {
            const auto a = make_values(count, dtype), b = make_values(count, dtype), out = make_values(count, dtype);
            const auto run = kernels_of<Kernels>().*kernel;
            const int64_t size = bytes_of(dtype);
            const auto at = [size](const std::shared_ptr<void>& array, int64_t i) {
              return static_cast<char*>(array.get()) + size * i;
            };
            return [=](const Parallel& parallel) {
              parallel(count, kGrain, [&](int64_t begin, int64_t end) {
                const void* const pieces[] = {at(a, begin), at(b, begin)};
                run(pieces, 2, end - begin, 1.0, at(out, begin));
              });
            };
          }};
}

Case make_widen(const std::string& dtype, int64_t count, Kernels::Widen Kernels::*kernel) {
  return {Kernels::kOp, "widen", dtype, {count}, "element", count, 6 * count, [=](int64_t) -> Run {
            const auto in = make_halves(count, dtype);
            const auto out = make_floats(count);
            const auto run = kernels_of<Kernels>().*kernel;
            return [=](const Parallel& parallel) {
              parallel(count, kGrain, [&](int64_t begin, int64_t end) {
                run(in.get() + begin, end - begin, out.get() + begin);
              });
            };
          }};
}

Case make_narrow(const std::string& dtype, int64_t count, Kernels::Narrow Kernels::*kernel) {
  return {Kernels::kOp, "narrow", dtype, {count}, "element", count, 6 * count, [=](int64_t) -> Run {
            const auto in = make_floats(count);
            const auto out = make_halves(count, dtype);
            const auto run = kernels_of<Kernels>().*kernel;
            return [=](const Parallel& parallel) {
              parallel(count, kGrain, [&](int64_t begin, int64_t end) {
                run(in.get() + begin, end - begin, 1.0, out.get() + begin);
              });
            };
          }};
}

// Of gradients, for their norm.
Case make_squares(const std::string& dtype, int64_t count, Kernels::Squares Kernels::*kernel) {
  return {Kernels::kOp, "squares", dtype, {count}, "element", count, bytes_of(dtype) * count, [=](int64_t) -> Run {
            const auto in = make_values(count, dtype);
            const auto run = kernels_of<Kernels>().*kernel;
            const int64_t size = bytes_of(dtype);
            return [=](const Parallel& parallel) {
              parallel(count, kGrain, [&](int64_t begin, int64_t end) {
                run(static_cast<const char*>(in.get()) + size * begin, end - begin);
              });
            };
          }};
}

// The MPI backend's, which no layer of a model calls: there are no whole shapes.
const Declaration declaration([](Shapes) {
  const int64_t count = 4 * 5184;
  return std::vector<Case>{
      make_sum("float32", count, &Kernels::sum_float32),     make_sum("bfloat16", count, &Kernels::sum_bfloat16),
      make_sum("float16", count, &Kernels::sum_float16),     make_widen("bfloat16", count, &Kernels::widen_bfloat16),
      make_widen("float16", count, &Kernels::widen_float16), make_narrow("bfloat16", count, &Kernels::narrow_bfloat16),
      make_narrow("float16", count, &Kernels::narrow_float16),
      make_squares("float32", count, &Kernels::squares_float32),
      make_squares("bfloat16", count, &Kernels::squares_bfloat16),
  };
}, {Shapes::Small});

}  // namespace
}  // namespace mfugaku::bench
