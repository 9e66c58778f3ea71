// The gemm kernels of every instruction set against one chain of fused multiply-adds for each element, bit for bit.
#include <doctest/doctest.h>

#include "matrices.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

void check_case(Random& random, const ProductCase& c, const std::string& isa, const GemmKernels& kernels) {
  check_products<GemmPlan>(random, c, isa, kernels, [&](const float* begin, const auto& a, const auto& b) {
    float sum = begin == nullptr ? 0.0f : *begin;
    for (int64_t k = 0; k < c.shape.depth; ++k) sum = std::fma(a(k), b(k), sum);
    return sum;
  });
}

}  // namespace

TEST_CASE("products are one chain of fused multiply-adds for each element, on every instruction set") {
  for_every_isa<GemmKernels>([](const std::string& isa, const GemmKernels& kernels) {
    Random random(3);
    for (const Shape& shape : kShapes)
      for (int layout = 0; layout < 4; ++layout)
        check_case(random, draw_case(random, shape, Storage::Float32, Storage::Float32, layout), isa, kernels);
  });
}

TEST_CASE("halves give what float32 gives for their values, rounded once") {
  for_every_isa<GemmKernels>([](const std::string& isa, const GemmKernels& kernels) {
    Random random(4);
    for (const Shape& shape : kShapes)
      for (const Storage in : {Storage::BFloat16, Storage::Float16})
        for (const Storage out : {in, Storage::Float32})
          check_case(random, draw_case(random, shape, in, out, static_cast<int>(random.bits() % 4)), isa, kernels);
  });
}

TEST_CASE("products do not depend on how they are cut into slices of depth, blocks of panels and parts") {
  for_every_isa<GemmKernels>([](const std::string& isa, const GemmKernels& kernels) {
    Random random(6);
    const int64_t width = kernels.tile_columns(), panel_bytes = 4 * 64 * width;
    const Shape shape = {2, 2 * kernels.tile_rows + 3, 3 * width + 1, 130};
    for (const int64_t panels : {0, 2, 3})
      for (const int64_t lanes : {int64_t{1}, 2 * width, 1000 * width}) {
        const Storage in = random.bits() % 2 == 0 ? Storage::Float32 : Storage::BFloat16;
        GemmKernels cut = kernels;
        cut.slice_depth = 64;
        cut.block_bytes = panels * panel_bytes;
        cut.packed_bytes = lanes * 2 * 4 * 64;
        check_case(random, draw_case(random, shape, in, in, static_cast<int>(random.bits() % 4)), isa, cut);
      }
  });
}

TEST_CASE(
    "matrices that are contiguous along neither side are multiplied too, and one matrix may serve a whole batch") {
  for_every_isa<GemmKernels>([](const std::string& isa, const GemmKernels& kernels) {
    CAPTURE(isa);
    const int64_t rows = 5, columns = 30, depth = 9, batches = 2;
    Random random(5);
    std::vector<float> a(rows * depth * 6), b(depth * columns * 6), out(batches * rows * columns);
    for (float& v : a) v = static_cast<float>(random.between(-1, 1));
    for (float& v : b) v = static_cast<float>(random.between(-1, 1));
    const GemmProblem problem = {batches,
                                 rows,
                                 columns,
                                 depth,
                                 {a.data(), Storage::Float32, 0, 3 * depth, 2},
                                 {b.data(), Storage::Float32, 1, 2 * columns, 2},
                                 out.data(),
                                 Storage::Float32,
                                 rows * columns,
                                 columns,
                                 1.0f,
                                 false};
    const GemmPlan plan(kernels, problem);
    std::vector<float> workspace(static_cast<size_t>(plan.workspace()));
    plan.run(workspace.data(), Scattered{random});
    int64_t num_wrong = 0;
    for (int64_t i = 0; i < batches; ++i)
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t column = 0; column < columns; ++column) {
          float sum = 0;
          for (int64_t k = 0; k < depth; ++k)
            sum = std::fma(a[row * 3 * depth + 2 * k], b[i + k * 2 * columns + 2 * column], sum);
          num_wrong += same(sum, out[(i * rows + row) * columns + column]) ? 0 : 1;
        }
    CHECK(num_wrong == 0);
  });
}
