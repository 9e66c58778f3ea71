#include "kernels/softmax/softmax.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::SoftmaxKernels;

// A row of tasks is worth a thread when it has the elements of a tile.
int64_t rows_of_a_tile(int64_t columns) { return std::max<int64_t>(1, kGrain / columns); }

// Rows that see all columns, or with `causal` square matrices that see half of theirs.
Case make_forward(const std::string& dtype, bool causal, int64_t rows, int64_t columns,
                  Kernels::Forward Kernels::*kernel) {
  const int64_t count = rows * columns;
  return {Kernels::kOp, causal ? "forward causal" : "forward", dtype, {rows, columns}, "element", count,
          bytes_of(dtype) * count * 2, [=](int64_t) -> Run {
            const auto x = make_values(count, dtype), out = make_values(count, dtype);
            const auto run = kernels_of<Kernels>().*kernel;
            const bool needs_buffer = dtype != "float32";
            return [=](const Parallel& parallel) {
              const int64_t num_queries = causal ? columns : 0;
              const kernels::SoftmaxJob job = {x.get(), nullptr, out.get(), columns, num_queries, causal, 0.1f};
              parallel(rows, rows_of_a_tile(columns), [&](int64_t begin, int64_t end) {
                const auto buffer = needs_buffer ? make_array<float>(columns) : nullptr;
                run(job, begin, end, buffer.get());
              });
            };
          }};
}

Case make_backward(const std::string& dtype, bool causal, int64_t rows, int64_t columns,
                   Kernels::Backward Kernels::*kernel) {
  const int64_t count = rows * columns;
  return {Kernels::kOp, causal ? "backward causal" : "backward", dtype, {rows, columns}, "element", count,
          bytes_of(dtype) * count * 3, [=](int64_t) -> Run {
            const auto y = make_values(count, dtype), gradient = make_values(count, dtype);
            const auto out = make_values(count, dtype);
            const auto run = kernels_of<Kernels>().*kernel;
            return [=](const Parallel& parallel) {
              const int64_t num_queries = causal ? columns : 0;
              const kernels::SoftmaxJob job = {y.get(), gradient.get(), out.get(), columns, num_queries, causal, 0.1f};
              parallel(rows, rows_of_a_tile(columns), [&](int64_t begin, int64_t end) { run(job, begin, end); });
            };
          }};
}

const Declaration declaration([](Shapes shapes) {
  if (shapes == Shapes::Deep)
    return std::vector<Case>{make_forward("float32", true, 2048, 2048, &Kernels::forward_float32),
                             make_backward("float32", true, 2048, 2048, &Kernels::backward_float32)};
  if (shapes == Shapes::Whole)
    return std::vector<Case>{make_forward("float32", true, 6 * 2048, 2048, &Kernels::forward_float32),
                             make_backward("float32", true, 6 * 2048, 2048, &Kernels::backward_float32)};
  return std::vector<Case>{
      make_forward("float32", false, 8, 2048, &Kernels::forward_float32),
      make_forward("bfloat16", false, 8, 2048, &Kernels::forward_bfloat16),
      make_forward("float16", false, 8, 2048, &Kernels::forward_float16),
      make_forward("float32", true, 256, 256, &Kernels::forward_float32),
      make_backward("float32", false, 8, 2048, &Kernels::backward_float32),
      make_backward("bfloat16", false, 8, 2048, &Kernels::backward_bfloat16),
      make_backward("float16", false, 8, 2048, &Kernels::backward_float16),
      make_backward("float32", true, 256, 256, &Kernels::backward_float32),
  };
}, {Shapes::Small, Shapes::Whole, Shapes::Deep});

}  // namespace
}  // namespace mfugaku::bench
