// The bias_gelu kernels of every instruction set against double, and against each other.
#include <doctest/doctest.h>

#include "kernels/bias_gelu/bias_gelu.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

double sigmoid_2u(double v) {
  const double two_u = 2 * std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v);
  return 1 / (1 + std::exp(-two_u));
}

double gelu(double v) { return v * sigmoid_2u(v); }

double gelu_slope(double v) {
  const double s = sigmoid_2u(v), inner = 2 * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * v * v);
  return s + v * s * sigmoid_2u(-v) * inner;
}

double normal(double v) { return 0.5 * std::erfc(-v / std::sqrt(2.0)); }
double exact_gelu(double v) { return v * normal(v); }
double exact_slope(double v) { return normal(v) + v * std::exp(-v * v / 2) / std::sqrt(2 * M_PI); }

// One of the two forms: its functions in double, its kernels, and what there is of it towards -inf.
struct Form {
  const char* name;
  double (*value)(double);
  double (*slope)(double);
  BiasGeluKernels::Run BiasGeluKernels::*forward[3];  // float32, bfloat16, float16
  BiasGeluKernels::Run BiasGeluKernels::*backward[3];
  float rest, rest_of_slope;
  uint64_t print;
};

const Form kForms[] = {
    {"tanh", gelu, gelu_slope,
     {&BiasGeluKernels::forward_float32, &BiasGeluKernels::forward_bfloat16, &BiasGeluKernels::forward_float16},
     {&BiasGeluKernels::backward_float32, &BiasGeluKernels::backward_bfloat16, &BiasGeluKernels::backward_float16},
     1e-30f, 1e-29f, 0x566f523fffeeefd1ull},
    {"exact", exact_gelu, exact_slope,
     {&BiasGeluKernels::exact_float32, &BiasGeluKernels::exact_bfloat16, &BiasGeluKernels::exact_float16},
     {&BiasGeluKernels::exact_backward_float32, &BiasGeluKernels::exact_backward_bfloat16,
      &BiasGeluKernels::exact_backward_float16},
     1e-8f, 4e-8f, 0x563f532fc14cef2dull},
};

BiasGeluJob job_of(const void* x, const void* bias, int64_t num_columns, const void* gradient, void* out) {
  return {x, bias, num_columns, gradient, out};
}

std::vector<float> probes() {
  std::vector<float> values;
  for (double v = -20; v <= 20; v += 1.0 / 1024) values.push_back(static_cast<float>(v));
  Random random(11);
  for (int i = 0; i < 20000; ++i) values.push_back(static_cast<float>(random.between(-6, 6)));
  for (float v = 1e-38f; v < 3e38f; v *= 3) values.push_back(v), values.push_back(-v);
  for (int i = 0; i < 2000; ++i) values.push_back(any_float(random));
  return values;
}

}  // namespace

TEST_CASE("gelu is within 2e-7 of double, its gradient within 3e-7, the same bits on every instruction set") {
  const auto x = probes();
  const auto count = static_cast<int64_t>(x.size());
  const std::vector<float> ones(x.size(), 1.0f);
  for (const Form& form : kForms)
    for_every_isa<BiasGeluKernels>([&](const std::string& isa, const BiasGeluKernels& kernels) {
      CAPTURE(form.name);
      std::vector<float> y(x.size()), dx(x.size());
      (kernels.*form.forward[0])(job_of(x.data(), nullptr, 1, nullptr, y.data()), 0, count);
      (kernels.*form.backward[0])(job_of(x.data(), nullptr, 1, ones.data(), dx.data()), 0, count);
      double forward = 0, backward = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        if (x[i] != x[i]) {
          CHECK(y[i] != y[i]);
          CHECK(dx[i] != dx[i]);
        } else if (std::isinf(x[i])) {
          CHECK((x[i] > 0 ? y[i] == x[i] : y[i] < 0 && y[i] > -form.rest));
          CHECK(std::fabs(dx[i] - (x[i] > 0 ? 1.0f : 0.0f)) < form.rest_of_slope);
        } else {
          forward = std::max(forward, std::fabs(y[i] - form.value(x[i])) / std::max(1.0, std::fabs(form.value(x[i]))));
          backward = std::max(backward, std::fabs(dx[i] - form.slope(x[i])));
        }
      }
      MESSAGE(isa, ", ", std::string(form.name), ": gelu within ", forward, ", gradient within ", backward);
      CHECK(forward <= 2e-7);
      CHECK(backward <= 3e-7);
      // What every machine must find: x86 and Arm compare their bits by this number.
      CHECK(fingerprint(dx, fingerprint(y)) == form.print);
    });
}

TEST_CASE("every element of every size gets its bias and its gradient, and nothing else is touched") {
  const auto check = [](const BiasGeluKernels& kernels, const Form& form, int64_t count, Edge edge, int64_t num_columns) {
    Random random(static_cast<uint64_t>(count));
    Guarded<float> x(count, edge), bias(num_columns, edge), gradient(count, edge), y(count, edge), dx(count, edge);
    for (int64_t i = 0; i < count; ++i) {
      x[i] = static_cast<float>(random.between(-4, 4));
      gradient[i] = static_cast<float>(random.between(-4, 4));
    }
    for (int64_t i = 0; i < num_columns; ++i) bias[i] = static_cast<float>(random.between(-2, 2));
    const auto forward = job_of(x.data(), bias.data(), num_columns, nullptr, y.data());
    const auto backward = job_of(x.data(), bias.data(), num_columns, gradient.data(), dx.data());
    for (const auto& [begin, end] : {std::pair{count / 3, count}, std::pair{int64_t{0}, count / 3}}) {
      (kernels.*form.forward[0])(forward, begin, end);
      (kernels.*form.backward[0])(backward, begin, end);
    }
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double v = static_cast<double>(x[i] + bias[i % num_columns]);
      wrong += !(std::fabs(y[i] - form.value(v)) <= 2e-7 * std::max(1.0, std::fabs(form.value(v))));
      wrong += !(std::fabs(dx[i] - gradient[i] * form.slope(v)) <= 1.6e-6);
    }
    CHECK(wrong == 0);
    CHECK(y.intact());
    CHECK(dx.intact());
  };
  for_every_isa<BiasGeluKernels>([&](const std::string& isa, const BiasGeluKernels& kernels) {
    CAPTURE(isa);
    for (const Form& form : kForms)
      for (const int64_t count : sizes())
        for (const Edge edge : {Edge::AtStart, Edge::AtEnd})
          for (const int64_t num_columns : {1, 7, 64, 100}) {
            CAPTURE(form.name);
            CAPTURE(count);
            CAPTURE(num_columns);
            check(kernels, form, count, edge, num_columns);
          }
  });
}

TEST_CASE("halves are computed in float32 and rounded once, without and with bias") {
  const int64_t count = 333, num_columns = 111;
  for_every_isa<BiasGeluKernels>([&](const std::string& isa, const BiasGeluKernels& kernels) {
    CAPTURE(isa);
    for (const HalfFormat* format : {&kBFloat16, &kFloat16})
      for (const int which : {0, 1, 2}) {
        const bool has_bias = which > 0;
        const Form& form = kForms[which / 2];
        const int type = format == &kBFloat16 ? 1 : 2;
        Random random(13);
        Guarded<uint16_t> x(count, Edge::AtEnd), gradient(count, Edge::AtEnd), bias(num_columns, Edge::AtEnd);
        Guarded<uint16_t> y(count, Edge::AtEnd), dx(count, Edge::AtEnd);
        std::vector<float> wide_x, wide_gradient, wide_bias, wide_y(count), wide_dx(count);
        const auto fill = [&](Guarded<uint16_t>& halves, std::vector<float>& wide) {
          for (int64_t i = 0; i < halves.size(); ++i) {
            halves[i] = format->nearest(random.between(-4, 4));
            wide.push_back(static_cast<float>(format->value(halves[i])));
          }
        };
        fill(x, wide_x);
        fill(gradient, wide_gradient);
        fill(bias, wide_bias);
        const void* const b = has_bias ? bias.data() : nullptr;
        const void* const wide_b = has_bias ? wide_bias.data() : nullptr;
        (kernels.*form.forward[type])(job_of(x.data(), b, num_columns, nullptr, y.data()), 0, count);
        (kernels.*form.backward[type])(job_of(x.data(), b, num_columns, gradient.data(), dx.data()), 0, count);
        (kernels.*form.forward[0])(job_of(wide_x.data(), wide_b, num_columns, nullptr, wide_y.data()), 0, count);
        (kernels.*form.backward[0])(
            job_of(wide_x.data(), wide_b, num_columns, wide_gradient.data(), wide_dx.data()), 0, count);
        int64_t wrong = 0;
        for (int64_t i = 0; i < count; ++i)
          wrong += (y[i] != format->nearest(wide_y[static_cast<size_t>(i)])) +
                   (dx[i] != format->nearest(wide_dx[static_cast<size_t>(i)]));
        CHECK(wrong == 0);
        CHECK(y.intact());
        CHECK(dx.intact());
      }
  });
}
