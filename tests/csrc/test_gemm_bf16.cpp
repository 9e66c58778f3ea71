// The gemm_bf16 kernels of every instruction set, by BF16 instructions where the CPU has them, against sums rounded to
// odd the slow way, bit for bit, and against float64.
#include <doctest/doctest.h>

#include "kernels/gemm_bf16/gemm_bf16.h"
#include "matrices.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

float without_subnormals(float v) { return std::fabs(v) < 0x1p-126f ? std::copysign(0.0f, v) : v; }

// Of the two floats around a + b the one whose last bit is set; a + b itself where it is a float.
float add_to_odd(float a, float b) {
  const double x = a, y = b, sum = x + y, of_y = sum - x, rest = (x - (sum - of_y)) + (y - of_y);
  auto inner = static_cast<float>(sum);
  const bool is_beyond = std::fabs(static_cast<double>(inner)) > std::fabs(sum) ||
                         (inner == sum && rest != 0 && std::signbit(rest) != std::signbit(sum));
  if (is_beyond) inner = std::nextafterf(inner, 0.0f);
  if (inner != sum || rest != 0) inner = bit_cast<float>(bit_cast<uint32_t>(inner) | 1u);
  return without_subnormals(inner);
}

struct Case {
  Shape shape;
  Storage out;
  bool a_turned, b_turned, accumulate;
  float alpha;
  int64_t gap;
};

void check_case(Random& random, const Case& c, const std::string& isa, const GemmKernels& kernels) {
  CAPTURE(isa);
  const Shape& s = c.shape;
  CAPTURE(s.depth);
  Matrices a(random, Storage::BFloat16, s.batches, s.rows, s.depth, c.a_turned, c.gap);
  Matrices b(random, Storage::BFloat16, s.batches, s.depth, s.columns, c.b_turned, c.gap);
  Matrices out(random, c.out, s.batches, s.rows, s.columns, false, c.gap);
  std::vector<float> expected;
  int64_t num_far = 0;
  for (int64_t i = 0; i < s.batches; ++i)
    for (int64_t row = 0; row < s.rows; ++row)
      for (int64_t column = 0; column < s.columns; ++column) {
        const float begin = c.accumulate ? out.at(i, row, column) : 0.0f;
        float sum = begin;
        double exact = begin, magnitudes = std::fabs(begin);
        const auto product = [&](int64_t k) {
          return k < s.depth ? without_subnormals(a.at(i, row, k) * b.at(i, k, column)) : 0.0f;
        };
        for (int64_t k = 0; k < (s.depth + 3) / 4 * 4; k += 2) {
          sum = add_to_odd(sum, add_to_odd(product(k), product(k + 1)));
          exact += static_cast<double>(product(k)) + product(k + 1);
          magnitudes += std::fabs(product(k)) + std::fabs(product(k + 1));
        }
        num_far += std::fabs(sum - exact) > static_cast<double>(s.depth) * 0x1p-23 * magnitudes;
        expected.push_back(out.rounded(c.alpha * sum));
      }
  CHECK(num_far == 0);
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

TEST_CASE("products by BF16 instructions are pairs of products added and rounded to odd, on every instruction set") {
  MESSAGE("BF16 instructions: NEON ", neon_has_bfloat16(), ", SVE ", sve_has_bfloat16());
  for_every_isa<GemmBf16Kernels>([](const std::string& isa, const GemmBf16Kernels& kernels) {
    Random random(9);
    const auto check = [&](const Shape& shape, int layout) {
      check_case(random,
                 {shape, random.bits() % 2 == 0 ? Storage::BFloat16 : Storage::Float32, (layout & 1) != 0,
                  (layout & 2) != 0, random.bits() % 2 == 0, random.bits() % 2 == 0 ? 1.0f : 0.3f,
                  static_cast<int64_t>(random.bits() % 3)},
                 isa, kernels.gemm);
    };
    for (const Shape& shape : kShapes)
      if (is_small(shape)) check(shape, static_cast<int>(random.bits() % 4));
    for (int64_t depth = 1; depth <= 9; ++depth)
      for (int layout = 0; layout < 4; ++layout) check({2, 9, 26, depth}, layout);
  });
}

TEST_CASE("BF16 instructions take what is below the smallest normal number for zero, and keep infinities") {
  for_every_isa<GemmBf16Kernels>([](const std::string& isa, const GemmBf16Kernels& kernels) {
    CAPTURE(isa);
    const float infinity = std::numeric_limits<float>::infinity(), none = std::numeric_limits<float>::quiet_NaN();
    // Each row has one product with each column.
    const std::vector<float> rows = {1.0f, -1.0f, 0x1p-70f, 0x1p-130f, infinity, none, 0x1p100f, -0.0f};
    const std::vector<float> columns = {1.0f, 0x1p-70f, -0x1p-60f, 0x1p20f, -infinity, none, 0.0f, 0x1p-130f};
    std::vector<uint16_t> a, b;
    for (const float v : rows) a.push_back(v != v ? 0x7fc0 : kBFloat16.nearest(v));
    for (const float v : columns) b.push_back(v != v ? 0x7fc0 : kBFloat16.nearest(v));
    std::vector<float> out(64, 5.0f);
    const GemmProblem problem = {1,
                                 8,
                                 8,
                                 1,
                                 {a.data(), Storage::BFloat16, 0, 1, 1},
                                 {b.data(), Storage::BFloat16, 0, 8, 1},
                                 out.data(),
                                 Storage::Float32,
                                 0,
                                 8,
                                 1.0f,
                                 false};
    const GemmPlan plan(kernels.gemm, problem);
    std::vector<float> workspace(static_cast<size_t>(plan.workspace()));
    plan.run(workspace.data(), [](int64_t count, int64_t, const auto& body) { body(0, count); });
    for (size_t row = 0; row < 8; ++row)
      for (size_t column = 0; column < 8; ++column) {
        CAPTURE(row);
        CAPTURE(column);
        const float product = without_subnormals(without_subnormals(rows[row]) * without_subnormals(columns[column]));
        CHECK(same(out[row * 8 + column], product == 0 ? 0.0f : product));
      }
  });
}
