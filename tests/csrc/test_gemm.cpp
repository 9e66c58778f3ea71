// The gemm kernels of every instruction set against one chain of fused multiply-adds for each element, bit for bit.
#include <doctest/doctest.h>

#include "matrices.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

struct Case {
  Shape shape;
  Storage in, out;
  bool a_turned, b_turned, accumulate;
  float alpha;
  int64_t gap;
};

void check_case(Random& random, const Case& c, const std::string& isa, const GemmKernels& kernels) {
  CAPTURE(isa);
  const Shape& s = c.shape;
  Matrices a(random, c.in, s.batches, s.rows, s.depth, c.a_turned, c.gap);
  Matrices b(random, c.in, s.batches, s.depth, s.columns, c.b_turned, c.gap);
  Matrices out(random, c.out, s.batches, s.rows, s.columns, false, c.gap);
  std::vector<float> expected;
  for (int64_t i = 0; i < s.batches; ++i)
    for (int64_t row = 0; row < s.rows; ++row)
      for (int64_t column = 0; column < s.columns; ++column) {
        float sum = c.accumulate ? out.at(i, row, column) : 0.0f;
        for (int64_t k = 0; k < s.depth; ++k) sum = std::fma(a.at(i, row, k), b.at(i, k, column), sum);
        expected.push_back(out.rounded(c.alpha * sum));
      }
  const GemmProblem problem = {s.batches,  s.rows, s.columns,          s.depth,          a.operand(), b.operand(),
                               out.data(), c.out,  out.batch_stride(), out.row_stride(), c.alpha,     c.accumulate};
  const GemmPlan plan(kernels, problem);
  Guarded<float> workspace(plan.workspace(), Edge::AtEnd);
  plan.run(workspace.data(), Scattered{random});
  int64_t num_wrong = 0;
  size_t next = 0;
  for (int64_t i = 0; i < s.batches; ++i)
    for (int64_t row = 0; row < s.rows; ++row)
      for (int64_t column = 0; column < s.columns; ++column)
        num_wrong += same(out.at(i, row, column), expected[next++]) ? 0 : 1;
  CHECK(num_wrong == 0);
  CHECK(out.intact());
  CHECK(workspace.intact());
}

}  // namespace

TEST_CASE("products are one chain of fused multiply-adds for each element, on every instruction set") {
  for_every_isa<GemmKernels>([](const std::string& isa, const GemmKernels& kernels) {
    Random random(3);
    for (const Shape& shape : kShapes)
      for (int layout = 0; layout < 4; ++layout)
        check_case(
            random,
            {shape, Storage::Float32, Storage::Float32, (layout & 1) != 0, (layout & 2) != 0, random.bits() % 2 == 0,
             random.bits() % 2 == 0 ? 1.0f : 0.3f, static_cast<int64_t>(random.bits() % 3)},
            isa, kernels);
  });
}

TEST_CASE("halves give what float32 gives for their values, rounded once") {
  for_every_isa<GemmKernels>([](const std::string& isa, const GemmKernels& kernels) {
    Random random(4);
    for (const Shape& shape : kShapes)
      for (const Storage in : {Storage::BFloat16, Storage::Float16})
        for (const Storage out : {in, Storage::Float32})
          check_case(random,
                     {shape, in, out, random.bits() % 2 == 0, random.bits() % 2 == 0, random.bits() % 2 == 0,
                      random.bits() % 2 == 0 ? 1.0f : 0.3f, static_cast<int64_t>(random.bits() % 3)},
                     isa, kernels);
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
