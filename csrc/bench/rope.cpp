#include "kernels/rope/rope.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::RopeKernels;

// Queries of heads of 128, as Llama has them, where a projection of queries, keys and values left them.
Case make_case(bool interleaved, const std::string& dtype, int64_t positions, int64_t heads,
               Kernels::Run Kernels::*kernel) {
  const int64_t width = 128, count = positions * heads * width;
  return {Kernels::kOp, interleaved ? "interleaved" : "halves", dtype, {positions, heads, width}, "element", count,
          2 * bytes_of(dtype) * count + 4 * positions * width, [=](int64_t) -> Run {
            const auto x = make_values(3 * count, dtype), out = make_values(count, dtype);
            const auto cosines = make_floats(positions * width / 2), sines = make_floats(positions * width / 2);
            const auto run = kernels_of<Kernels>().*kernel;
            return [=](const Parallel& parallel) {
              kernels::RopeJob job = {};
              job.x = x.get();
              job.position_stride = job.batch_stride = 3 * heads * width;
              job.head_stride = 3 * width;
              job.out = out.get();
              job.cosines = cosines.get();
              job.sines = sines.get();
              job.num_batches = 1;
              job.num_heads = heads;
              job.width = job.rotated = width;
              job.interleaved = interleaved;
              parallel(positions, std::max<int64_t>(1, kGrain / (heads * width)),
                       [&](int64_t begin, int64_t end) { run(job, begin, end); });
            };
          }};
}

const Declaration declaration([](Shapes shapes) {
  const bool whole = shapes == Shapes::Whole;
  const int64_t positions = whole ? 2048 : 32, heads = 8;
  std::vector<Case> cases = {
      make_case(false, "float32", positions, heads, &Kernels::float32),
      make_case(true, "float32", positions, heads, &Kernels::float32),
  };
  if (whole) return cases;
  cases.push_back(make_case(false, "bfloat16", positions, heads, &Kernels::bfloat16));
  cases.push_back(make_case(false, "float16", positions, heads, &Kernels::float16));
  cases.push_back(make_case(true, "bfloat16", positions, heads, &Kernels::bfloat16));
  return cases;
});

}  // namespace
}  // namespace mfugaku::bench
