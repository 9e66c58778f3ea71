// The gemm_fp16 kernels of every instruction set against the order of sums that gemm_fp16.h gives, each of them rounded
// to float16 the slow way, bit for bit; and the errors that it states.
#include <doctest/doctest.h>

#include "kernels/gemm_fp16/gemm_fp16_run.h"
#include "matrices.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

// The float16 nearest to a double, which holds the sum of a product and a float16 well enough: it has all bits of the
// sum unless the product is less than 2^-31 of the float16, which then is the answer.
double nearest16(double value) { return value != value ? value : kFloat16.value(kFloat16.nearest(value)); }

double pairwise(const std::vector<double>& chains, size_t begin, size_t end) {
  if (end - begin == 1) return chains[begin];
  size_t half = 1;
  while (2 * half < end - begin) half *= 2;
  return nearest16(pairwise(chains, begin, begin + half) + pairwise(chains, begin + half, end));
}

// begin + the products of a(k) and b(k); `begin` null: without it.
template <typename A, typename B> float expected_sum(int64_t depth, const float* begin, const A& a, const B& b) {
  float sum = begin == nullptr ? 0.0f : *begin;
  for (int64_t block = 0; block < depth; block += kFp16Block) {
    std::vector<double> chains;
    const int64_t end = std::min(block + kFp16Block, depth);
    for (int64_t first = block; first < end; first += kFp16Chain) {
      double chain = nearest16(double{a(first)} * b(first));
      for (int64_t k = first + 1; k < std::min(first + kFp16Chain, end); ++k)
        chain = nearest16(double{a(k)} * b(k) + chain);
      chains.push_back(chain);
    }
    const auto of_block = static_cast<float>(pairwise(chains, 0, chains.size()));
    sum = block == 0 && begin == nullptr ? of_block : sum + of_block;
  }
  return sum;
}

void check_case(Random& random, const ProductCase& c, const std::string& isa, const GemmFp16Kernels& kernels) {
  check_products<GemmFp16Plan>(random, c, isa, kernels, [&](const float* begin, const auto& a, const auto& b) {
    return expected_sum(c.shape.depth, begin, a, b);
  });
}

// Depths around those of chains, blocks and slices; widths around panels of every vector length.
const Shape kDeepShapes[] = {{1, 1, 1, 31},  {1, 1, 2, 32},   {1, 9, 5, 33},    {1, 2, 7, 63},    {1, 3, 6, 64},
                             {1, 8, 23, 65}, {1, 8, 24, 96},  {1, 8, 25, 97},   {1, 1, 95, 127},  {1, 4, 96, 128},
                             {1, 2, 97, 129}, {1, 3, 49, 160}, {1, 2, 191, 193}, {1, 2, 47, 255},  {1, 10, 12, 257},
                             {1, 2, 9, 513}};

uint16_t any_half(Random& random) {
  const uint64_t bits = random.bits();
  switch (bits % 8) {
    case 0: return static_cast<uint16_t>(bits >> 8 & 0x8000);  // zeros
    case 1: return static_cast<uint16_t>(bits >> 8 & 0x83ff);  // subnormal
    case 2: return static_cast<uint16_t>(bits >> 8 & 0x8fff);  // small
    case 3: return static_cast<uint16_t>((bits >> 8 & 0x8fff) | 0x5000);  // 32 to 512
    case 4: return static_cast<uint16_t>((bits >> 8 & 0x8003) | 0x3c00);  // about 1: sums half way between two halves
    case 5: return bits >> 40 & 15 ? 0x3c00 : static_cast<uint16_t>(bits >> 8);  // anything, now and then
    default: return kFloat16.nearest(random.between(-4, 4));
  }
}

// Rows of a with columns of b, whose depths are contiguous.
std::vector<float> multiply(Random& random, const GemmFp16Kernels& kernels, const std::vector<uint16_t>& a,
                            const std::vector<uint16_t>& b, int64_t depth) {
  const auto rows = static_cast<int64_t>(a.size()) / depth, columns = static_cast<int64_t>(b.size()) / depth;
  std::vector<float> out(static_cast<size_t>(rows * columns));
  const GemmProblem problem = {1,
                               rows,
                               columns,
                               depth,
                               {a.data(), Storage::Float16, 0, depth, 1},
                               {b.data(), Storage::Float16, 0, 1, depth},
                               out.data(),
                               Storage::Float32,
                               0,
                               columns,
                               1.0f,
                               false};
  const GemmFp16Plan plan(kernels, problem);
  std::vector<float> workspace(static_cast<size_t>(plan.workspace()));
  plan.run(workspace.data(), Scattered{random});
  return out;
}

// Rows and columns of any halves, one product for each element.
void check_any_halves(Random& random, int64_t depth, const std::string& isa, const GemmFp16Kernels& kernels) {
  CAPTURE(isa);
  CAPTURE(depth);
  const int64_t rows = 24, columns = 100;
  std::vector<uint16_t> a(static_cast<size_t>(rows * depth)), b(static_cast<size_t>(columns * depth));
  for (uint16_t& half : a) half = any_half(random);
  for (uint16_t& half : b) half = any_half(random);
  const std::vector<float> out = multiply(random, kernels, a, b, depth);
  int64_t num_wrong = 0;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column) {
      const float expected =
          expected_sum(depth, nullptr, [&](int64_t k) { return kFloat16.value(a[row * depth + k]); },
                       [&](int64_t k) { return kFloat16.value(b[column * depth + k]); });
      num_wrong += same(out[row * columns + column], expected) ? 0 : 1;
    }
  CHECK(num_wrong == 0);
}

}  // namespace

TEST_CASE("products in float16 have the bits that their order of sums gives, on every instruction set") {
  for_every_isa<GemmFp16Kernels>([](const std::string& isa, const GemmFp16Kernels& kernels) {
    Random random(6);
    const auto check = [&](const Shape& shape, int layout) {
      const Storage out = random.bits() % 2 == 0 ? Storage::Float16 : Storage::Float32;
      check_case(random, draw_case(random, shape, Storage::Float16, out, layout), isa, kernels);
    };
    for (const Shape& shape : kDeepShapes) check(shape, static_cast<int>(random.bits() % 4));
    for (const Shape& shape : kShapes)
      if (is_small(shape)) check(shape, static_cast<int>(random.bits() % 4));
    for (int layout = 0; layout < 4; ++layout) check({2, 9, 26, 35}, layout);
  });
}

TEST_CASE("products in float16 of any numbers: ties, subnormals, infinities, none at all, also under flush-to-zero") {
  for_every_isa<GemmFp16Kernels>([](const std::string& isa, const GemmFp16Kernels& kernels) {
    Random random(7);
    for (int round = 0; round < 4; ++round)
      for (const int64_t depth : {1, 2, 3, 40}) check_any_halves(random, depth, isa, kernels);
    const FlushToZero flush;
    check_any_halves(random, 3, isa, kernels);
  });
}

TEST_CASE("products in float16 are as far from float64 as gemm_fp16.h says") {
  const int64_t rows = 8, columns = 24, depth = 5184;
  Random random(8);
  const auto draw = [&](int64_t count, double size) {
    std::vector<uint16_t> halves(static_cast<size_t>(count));
    for (uint16_t& half : halves) half = kFloat16.nearest(random.between(-size, size));
    return halves;
  };
  const auto values_of = [](const std::vector<uint16_t>& halves) {
    std::vector<double> values;
    for (const uint16_t half : halves) values.push_back(kFloat16.value(half));
    return values;
  };
  const std::vector<uint16_t> a = draw(rows * depth, 1), b = draw(columns * depth, 0.05);
  const std::vector<double> values_a = values_of(a), values_b = values_of(b);
  for_every_isa<GemmFp16Kernels>([&](const std::string& isa, const GemmFp16Kernels& kernels) {
    CAPTURE(isa);
    const std::vector<float> out = multiply(random, kernels, a, b, depth);
    double of_errors = 0, of_elements = 0;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column) {
        double exact = 0, magnitudes = 0;
        for (int64_t k = 0; k < depth; ++k) {
          const double product = values_a[row * depth + k] * values_b[column * depth + k];
          exact += product;
          magnitudes += std::fabs(product);
        }
        const double error = std::fabs(out[row * columns + column] - exact);
        CHECK(error <= kFp16ErrorBound * magnitudes);
        of_errors += error * error;
        of_elements += exact * exact;
      }
    CHECK(std::sqrt(of_errors / of_elements) <= kFp16TypicalError);
  });
}
