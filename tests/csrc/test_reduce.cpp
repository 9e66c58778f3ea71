// The reduce kernels of every instruction set against sums and roundings written out.
#include <doctest/doctest.h>

#include <memory>

#include "kernels/reduce/reduce.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

// How a test makes and reads elements of one type, and adds them as the contract says.
struct Float {
  using Element = float;
  using Sum = float;
  static float any(Random& random) { return any_float(random); }
  static float read(float v) { return v; }
  static float write(float v) { return v; }
  static bool equal(float a, float b) { return same(a, b); }
  static ReduceKernels::Sum sum(const ReduceKernels& kernels) { return kernels.sum_float32; }
};
struct Double {
  using Element = double;
  using Sum = double;
  static double any(Random& random) {
    return random.bits() % 8 == 0 ? bit_cast<double>(random.bits()) : random.between(-4, 4);
  }
  static double read(double v) { return v; }
  static double write(double v) { return v; }
  static bool equal(double a, double b) { return same(a, b); }
  static ReduceKernels::Sum sum(const ReduceKernels& kernels) { return kernels.sum_float64; }
};
template <const HalfFormat& format> struct Half {
  using Element = uint16_t;
  using Sum = float;
  static uint16_t any(Random& random) {
    return random.bits() % 4 == 0 ? static_cast<uint16_t>(random.bits()) : format.nearest(random.between(-4, 4));
  }
  static float read(uint16_t v) { return static_cast<float>(format.value(v)); }
  static uint16_t write(float v) { return v != v ? format.nearest(INFINITY) + 1 : format.nearest(v); }
  static bool equal(uint16_t a, uint16_t b) { return same(format, a, b); }
  static ReduceKernels::Sum sum(const ReduceKernels& kernels) {
    return &format == &kBFloat16 ? kernels.sum_bfloat16 : kernels.sum_float16;
  }
};

template <typename Type>
typename Type::Element expected_sum(const std::vector<const void*>& pieces, int64_t i, double scale) {
  using Element = typename Type::Element;
  using Sum = typename Type::Sum;
  Sum sum = Type::read(static_cast<const Element*>(pieces[0])[i]);
  for (size_t p = 1; p < pieces.size(); ++p) sum += Type::read(static_cast<const Element*>(pieces[p])[i]);
  if (scale != 1) sum *= static_cast<Sum>(scale);
  return Type::write(sum);
}

template <typename Type> void check_sums(int64_t count, int num_pieces, double scale, Edge edge) {
  using Element = typename Type::Element;
  for_every_isa<ReduceKernels>([&](const std::string& isa, const ReduceKernels& kernels) {
    Random random(static_cast<uint64_t>(1000 * count + num_pieces));
    std::vector<std::unique_ptr<Guarded<Element>>> arrays;
    std::vector<const void*> pieces;
    for (int p = 0; p < num_pieces; ++p) {
      arrays.push_back(std::make_unique<Guarded<Element>>(count, edge));
      for (int64_t i = 0; i < count; ++i) (*arrays.back())[i] = Type::any(random);
      pieces.push_back(arrays.back()->data());
    }
    std::vector<Element> expected(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) expected[static_cast<size_t>(i)] = expected_sum<Type>(pieces, i, scale);

    Guarded<Element> out(count, edge);
    Type::sum(kernels)(pieces.data(), num_pieces, count, scale, out.data());
    Guarded<Element>& last = *arrays.back();
    Type::sum(kernels)(pieces.data(), num_pieces, count, scale, last.data());  // in place of a piece
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; ++i)
      wrong += !Type::equal(out[i], expected[static_cast<size_t>(i)]) +
               !Type::equal(last[i], expected[static_cast<size_t>(i)]);
    CAPTURE(isa);
    CAPTURE(count);
    CAPTURE(num_pieces);
    CAPTURE(scale);
    CHECK(wrong == 0);
    CHECK(out.intact());
    CHECK(last.intact());
  });
}

template <typename Type> void check_all_sums() {
  for (const int64_t count : sizes())
    for (const int num_pieces : {1, 2, 3, 8, 9})
      for (const Edge edge : {Edge::AtStart, Edge::AtEnd})
        check_sums<Type>(count, num_pieces, count % 2 == 0 ? 1.0 : 1.0 / 3.0, edge);
  for (const int num_pieces : {16, 17, 40})  // several passes over several blocks
    check_sums<Type>(5001, num_pieces, 1.0 / num_pieces, Edge::AtEnd);
}

std::vector<float> floats_to_narrow(const HalfFormat& format) {
  std::vector<float> values;
  for (uint32_t bits = 0; bits < 0x7fff; ++bits) {  // every tie and its neighbours
    const double low = format.value(static_cast<uint16_t>(bits)), high = format.value(static_cast<uint16_t>(bits + 1));
    if (std::isinf(low) || low != low || std::isinf(high) || high != high) continue;
    const uint32_t middle = bit_cast<uint32_t>(static_cast<float>((low + high) / 2));
    for (const uint32_t step : {0u, 1u, ~0u})
      for (const uint32_t sign : {0u, 0x80000000u}) values.push_back(bit_cast<float>((middle + step) ^ sign));
  }
  Random random(3);
  for (int i = 0; i < 100000; ++i) values.push_back(bit_cast<float>(static_cast<uint32_t>(random.bits())));
  for (const float v : {65504.0f, 65519.996f, 65520.0f, 3.3895314e38f, 3.4e38f, 0x1p-24f, 0x1p-25f, 0x1.000002p-25f})
    values.push_back(v);
  return values;
}

void check_conversions(const HalfFormat& format, const ReduceKernels& kernels, const std::string& isa) {
  const bool brain = &format == &kBFloat16;
  CAPTURE(isa);
  CAPTURE(brain);
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> wide(halves.size());
  (brain ? kernels.widen_bfloat16 : kernels.widen_float16)(halves.data(), 65536, wide.data());
  int64_t wrong = 0;
  for (size_t i = 0; i < halves.size(); ++i)
    wrong += !same(static_cast<double>(wide[i]), format.value(halves[i])) &&
             bit_cast<uint32_t>(wide[i]) != static_cast<uint32_t>(i) << 16;  // read as zero under flush-to-zero
  CHECK(wrong == 0);

  const auto values = floats_to_narrow(format);
  std::vector<uint16_t> narrowed(values.size());
  (brain ? kernels.narrow_bfloat16 : kernels.narrow_float16)(values.data(), static_cast<int64_t>(values.size()), 1.0,
                                                             narrowed.data());
  const auto nan = [](float v) { return (bit_cast<uint32_t>(v) & 0x7fffffffu) > 0x7f800000u; };
  std::vector<uint16_t> expected(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t bits = bit_cast<uint32_t>(values[i]);
    // From the bits, so that a subnormal float counts as what it is.
    const int exponent = static_cast<int>((bits >> 23) & 0xff);
    const double magnitude = exponent == 0 ? std::ldexp(bits & 0x7fffffu, -149)
                                           : std::ldexp((bits & 0x7fffffu) | 0x800000u, exponent - 150);
    const double value = exponent == 255 ? INFINITY : magnitude;
    expected[i] = nan(values[i]) ? format.nearest(INFINITY) + 1
                                 : format.nearest(bits & 0x80000000u ? -value : value);
  }
  wrong = 0;
  for (size_t i = 0; i < values.size(); ++i) wrong += !same(format, narrowed[i], expected[i]);
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("sums of float32 are those of a plain loop, to the bit") { check_all_sums<Float>(); }
TEST_CASE("sums of float64 are those of a plain loop, to the bit") { check_all_sums<Double>(); }
TEST_CASE("sums of bfloat16 are kept in float32 and rounded once") { check_all_sums<Half<kBFloat16>>(); }
TEST_CASE("sums of float16 are kept in float32 and rounded once") { check_all_sums<Half<kFloat16>>(); }

TEST_CASE("every half widens exactly, every float rounds to the nearest half") {
  for_every_isa<ReduceKernels>([](const std::string& isa, const ReduceKernels& kernels) {
    check_conversions(kBFloat16, kernels, isa);
    check_conversions(kFloat16, kernels, isa);
  });
}

TEST_CASE("conversions do not change when the CPU flushes subnormals to zero") {
  const FlushToZero flush;
  for_every_isa<ReduceKernels>([](const std::string& isa, const ReduceKernels& kernels) {
    check_conversions(kBFloat16, kernels, isa);
    check_conversions(kFloat16, kernels, isa);
  });
}

TEST_CASE("conversions and scaling keep to their elements at every size") {
  for_every_isa<ReduceKernels>([](const std::string& isa, const ReduceKernels& kernels) {
    CAPTURE(isa);
    for (const int64_t count : sizes())
      for (const Edge edge : {Edge::AtStart, Edge::AtEnd}) {
        CAPTURE(count);
        Random random(static_cast<uint64_t>(count));
        Guarded<uint16_t> halves(count, edge), back(count, edge);
        Guarded<float> wide(count, edge), floats(count, edge);
        Guarded<double> doubles(count, edge);
        std::vector<float> floats_before;
        std::vector<double> doubles_before;
        for (int64_t i = 0; i < count; ++i) {
          halves[i] = kFloat16.nearest(random.between(-4, 4));
          floats_before.push_back(floats[i] = any_float(random));
          doubles_before.push_back(doubles[i] = random.between(-4, 4));
        }
        kernels.widen_float16(halves.data(), count, wide.data());
        kernels.narrow_float16(wide.data(), count, 0.5, back.data());
        kernels.scale_float32(floats.data(), count, 0.1);
        kernels.scale_float64(doubles.data(), count, 0.1);
        int64_t wrong = 0;
        for (int64_t i = 0; i < count; ++i) {
          wrong += back[i] != kFloat16.nearest(kFloat16.value(halves[i]) / 2);
          wrong += !same(floats[i], floats_before[static_cast<size_t>(i)] * 0.1f);
          wrong += doubles[i] != doubles_before[static_cast<size_t>(i)] * 0.1;
        }
        CHECK(wrong == 0);
        CHECK(wide.intact());
        CHECK(back.intact());
        CHECK(floats.intact());
        CHECK(doubles.intact());
      }
  });
}

TEST_CASE("squares are summed to within their bound at every size, the same bits on every instruction set") {
  std::vector<double> sums;
  for_every_isa<ReduceKernels>([&](const std::string& isa, const ReduceKernels& kernels) {
    CAPTURE(isa);
    auto counts = sizes();
    counts.insert(counts.end(), {kSquares - 1, kSquares, kSquares + 1, 10 * kSquares + 77});
    size_t seen = 0;
    for (const int64_t count : counts) {
      CAPTURE(count);
      Guarded<float> x(count, Edge::AtEnd);
      Guarded<uint16_t> halves(count, Edge::AtStart);
      copy_into(x, uniform(count, static_cast<uint64_t>(count)));
      double exact = 0, exact_of_halves = 0;
      for (int64_t i = 0; i < count; ++i) {
        halves[i] = kFloat16.nearest(x[i]);
        exact += static_cast<double>(x[i]) * x[i];
        exact_of_halves += kFloat16.value(halves[i]) * kFloat16.value(halves[i]);
      }
      const double sum = kernels.squares_float32(x.data(), count);
      CHECK(std::fabs(sum - exact) <= 3e-7 * exact);
      CHECK(std::fabs(kernels.squares_float16(halves.data(), count) - exact_of_halves) <= 3e-7 * exact_of_halves);
      for (int64_t i = 0; i < count; ++i) {
        halves[i] = kBFloat16.nearest(x[i]);
        x[i] = static_cast<float>(kBFloat16.value(halves[i]));
      }
      CHECK(kernels.squares_bfloat16(halves.data(), count) == kernels.squares_float32(x.data(), count));
      if (seen == sums.size()) sums.push_back(sum);
      CHECK(sums[seen++] == sum);
    }
  });
}
