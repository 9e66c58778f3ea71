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

void check_case(Random& random, const ProductCase& c, const std::string& isa, const GemmKernels& kernels) {
  const int64_t depth = c.shape.depth;
  int64_t num_far = 0;
  check_products<GemmPlan>(random, c, isa, kernels, [&](const float* begin, const auto& a, const auto& b) {
    float sum = begin == nullptr ? 0.0f : *begin;
    double exact = sum, magnitudes = std::fabs(sum);
    const auto product = [&](int64_t k) { return k < depth ? without_subnormals(a(k) * b(k)) : 0.0f; };
    for (int64_t k = 0; k < (depth + 3) / 4 * 4; k += 2) {
      sum = add_to_odd(sum, add_to_odd(product(k), product(k + 1)));
      exact += static_cast<double>(product(k)) + product(k + 1);
      magnitudes += std::fabs(product(k)) + std::fabs(product(k + 1));
    }
    num_far += std::fabs(sum - exact) > static_cast<double>(depth) * 0x1p-23 * magnitudes;
    return sum;
  });
  CHECK(num_far == 0);
}

}  // namespace

TEST_CASE("products by BF16 instructions are pairs of products added and rounded to odd, on every instruction set") {
  MESSAGE("BF16 instructions: NEON ", neon_has_bfloat16(), ", SVE ", sve_has_bfloat16());
  for_every_isa<GemmBf16Kernels>([](const std::string& isa, const GemmBf16Kernels& kernels) {
    Random random(9);
    const auto check = [&](const Shape& shape, int layout) {
      const Storage out = random.bits() % 2 == 0 ? Storage::BFloat16 : Storage::Float32;
      check_case(random, draw_case(random, shape, Storage::BFloat16, out, layout), isa, kernels.gemm);
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
