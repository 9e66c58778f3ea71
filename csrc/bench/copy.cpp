#include "kernels/copy/copy.h"

#include "bench/case.h"

namespace mfugaku::bench {
namespace {

using Kernels = kernels::CopyKernels;

// The MPI backend's, as those of reduce.
const Declaration declaration([](Shapes) {
  const int64_t count = 4 * 5184;
  const auto prepare = [count](int64_t) -> Run {
    const auto in = make_floats(count), out = make_floats(count);
    const auto run = kernels_of<Kernels>().stream;
    return [=](const Parallel& parallel) {
      parallel(count, kGrain, [&](int64_t begin, int64_t end) {
        run(in.get() + begin, 4 * (end - begin), out.get() + begin);
      });
    };
  };
  return std::vector<Case>{{Kernels::kOp, "stream", "float32", {count}, "element", count, 8 * count, prepare}};
}, {Shapes::Small});

}  // namespace
}  // namespace mfugaku::bench
