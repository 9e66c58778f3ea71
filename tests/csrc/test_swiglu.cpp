// The swiglu kernels of every instruction set against double, and against each other.
#include <doctest/doctest.h>

#include "kernels/swiglu/swiglu.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

double logistic(double a) { return 1 / (1 + std::exp(-a)); }
double slope(double a) { return logistic(a) + a * logistic(a) * logistic(-a); }

std::vector<float> gates() {
  std::vector<float> values;
  for (double v = -90; v <= 90; v += 1.0 / 256) values.push_back(static_cast<float>(v));
  for (float v = 1e-38f; v < 3e38f; v *= 3) values.push_back(v), values.push_back(-v);
  values.insert(values.end(), {0.0f, -0.0f, std::numeric_limits<float>::infinity()});
  return values;
}

}  // namespace

TEST_CASE("swiglu and its gradient are near double over all gates, the same bits on every instruction set") {
  const auto gate = gates();
  const auto columns = static_cast<int64_t>(gate.size());
  std::vector<uint64_t> prints;
  for_every_isa<SwigluKernels>([&](const std::string& isa, const SwigluKernels& kernels) {
    std::vector<float> x = gate, y(gate.size()), of_x(2 * gate.size());
    x.insert(x.end(), gate.size(), 1.0f);
    const std::vector<float> ones(gate.size(), 1.0f);
    kernels.forward_float32({x.data(), nullptr, y.data(), columns}, 0, 1);
    kernels.backward_float32({x.data(), ones.data(), of_x.data(), columns}, 0, 1);
    double worst = 0, worst_slope = 0;
    for (size_t i = 0; i < gate.size(); ++i) {
      const double a = gate[i];
      if (std::isinf(a)) {
        CHECK(y[i] == gate[i]);
        CHECK(of_x[i] == 1.0f);
        continue;
      }
      if (a != 0) worst = std::max(worst, std::fabs(y[i] - a * logistic(a)) / std::fabs(a));
      worst_slope = std::max(worst_slope, std::fabs(of_x[i] - slope(a)));
      CHECK(same(of_x[gate.size() + i], y[i]));  // the gradient of b, where b is 1
    }
    MESSAGE(isa, ": swiglu within ", worst, " of the gate, its slope within ", worst_slope);
    CHECK(worst <= 3e-7);
    CHECK(worst_slope <= 4e-7);
    prints.push_back(fingerprint(of_x, fingerprint(y)));
  });
  for (const uint64_t print : prints) CHECK(print == prints.front());
  CHECK(prints.front() == 0xb5cff1247c4062faull);  // what x86 and Arm must find
}

TEST_CASE("every gate of every size meets its own factor and gradient, and nothing else is touched") {
  for_every_isa<SwigluKernels>([&](const std::string& isa, const SwigluKernels& kernels) {
    CAPTURE(isa);
    for (const int64_t columns : sizes())
      for (const Edge edge : {Edge::AtStart, Edge::AtEnd}) {
        CAPTURE(columns);
        const int64_t rows = 3;
        Guarded<float> x(2 * rows * columns, edge), gradient(rows * columns, edge), y(rows * columns, edge);
        Guarded<float> of_x(2 * rows * columns, edge);
        copy_into(x, uniform(2 * rows * columns, 1));
        copy_into(gradient, uniform(rows * columns, 2));
        kernels.forward_float32({x.data(), nullptr, y.data(), columns}, 1, rows);
        kernels.forward_float32({x.data(), nullptr, y.data(), columns}, 0, 1);
        kernels.backward_float32({x.data(), gradient.data(), of_x.data(), columns}, 0, rows);
        int64_t wrong = 0;
        for (int64_t row = 0; row < rows; ++row)
          for (int64_t i = 0; i < columns; ++i) {
            const double a = x[2 * row * columns + i], b = x[(2 * row + 1) * columns + i];
            const double g = gradient[row * columns + i];
            wrong += !(std::fabs(y[row * columns + i] - a * logistic(a) * b) <= 3e-7 * std::fabs(a * b));
            wrong += !(std::fabs(of_x[2 * row * columns + i] - g * b * slope(a)) <= 4e-7 * std::fabs(g * b));
            wrong += !(std::fabs(of_x[(2 * row + 1) * columns + i] - g * a * logistic(a)) <= 3e-7 * std::fabs(g * a));
          }
        CHECK(wrong == 0);
        CHECK(y.intact());
        CHECK(of_x.intact());
      }
  });
}

TEST_CASE("a NaN stays one, a gate of -inf is nearly closed, and a gradient may overwrite x") {
  for_every_isa<SwigluKernels>([&](const std::string& isa, const SwigluKernels& kernels) {
    CAPTURE(isa);
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> x = {nan, 1, -infinity, 2, 3, nan, 5, 6}, y(4), of_x(8);
    const std::vector<float> gradient = {1, 2, 3, 4};
    kernels.forward_float32({x.data(), nullptr, y.data(), 4}, 0, 1);
    kernels.backward_float32({x.data(), gradient.data(), of_x.data(), 4}, 0, 1);
    CHECK(y[0] != y[0]);
    CHECK(y[1] != y[1]);
    CHECK(std::fabs(y[2]) < 1e-30f);
    CHECK(of_x[0] != of_x[0]);
    CHECK(of_x[4] != of_x[4]);
    CHECK(std::fabs(of_x[2]) < 1e-30f);
    kernels.backward_float32({x.data(), gradient.data(), x.data(), 4}, 0, 1);
    for (size_t i = 0; i < 8; ++i) CHECK(same(x[i], of_x[i]));
  });
}

TEST_CASE("swiglu of halves is computed in float32 and rounded once") {
  const int64_t columns = 111, rows = 3;
  for_every_isa<SwigluKernels>([&](const std::string& isa, const SwigluKernels& kernels) {
    CAPTURE(isa);
    for (const HalfFormat* format : {&kBFloat16, &kFloat16}) {
      const bool brain = format == &kBFloat16;
      Random random(5);
      Guarded<uint16_t> x(2 * columns * rows, Edge::AtEnd), gradient(columns * rows, Edge::AtEnd);
      Guarded<uint16_t> y(columns * rows, Edge::AtEnd), of_x(2 * columns * rows, Edge::AtEnd);
      std::vector<float> wide_x, wide_gradient, wide_y(columns * rows), wide_of_x(2 * columns * rows);
      const auto fill = [&](Guarded<uint16_t>& halves, std::vector<float>& wide) {
        for (int64_t i = 0; i < halves.size(); ++i) {
          halves[i] = format->nearest(random.between(-4, 4));
          wide.push_back(static_cast<float>(format->value(halves[i])));
        }
      };
      fill(x, wide_x);
      fill(gradient, wide_gradient);
      (brain ? kernels.forward_bfloat16 : kernels.forward_float16)({x.data(), nullptr, y.data(), columns}, 0, rows);
      (brain ? kernels.backward_bfloat16 : kernels.backward_float16)(
          {x.data(), gradient.data(), of_x.data(), columns}, 0, rows);
      kernels.forward_float32({wide_x.data(), nullptr, wide_y.data(), columns}, 0, rows);
      kernels.backward_float32({wide_x.data(), wide_gradient.data(), wide_of_x.data(), columns}, 0, rows);
      int64_t wrong = 0;
      for (int64_t i = 0; i < y.size(); ++i) wrong += y[i] != format->nearest(wide_y[static_cast<size_t>(i)]);
      for (int64_t i = 0; i < of_x.size(); ++i) wrong += of_x[i] != format->nearest(wide_of_x[static_cast<size_t>(i)]);
      CHECK(wrong == 0);
      CHECK(y.intact());
      CHECK(of_x.intact());
    }
  });
}
