// The adamw kernels of every instruction set against double, and against each other.
#include <doctest/doctest.h>

#include "kernels/adamw/adamw.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

struct Settings {
  double lr, beta1, beta2, eps, weight_decay;
  int64_t step;
  double scale;
  bool decoupled;
  AdamwCoefficients coefficients() const {
    return adamw_coefficients(lr, beta1, beta2, eps, weight_decay, step, scale, decoupled);
  }
};

struct Numbers {
  double p, m, v, update;  // update: what is subtracted of p but for its decay
};

// The gradient that counts, rounded to float32 as it is defined to be.
float gradient_of(const Settings& s, float p, float g) {
  g *= static_cast<float>(s.scale);
  return s.decoupled ? g : std::fmaf(p, static_cast<float>(s.weight_decay), g);
}

Numbers expected(const Settings& s, double p, double g, double m, double v) {
  m = s.beta1 * m + (1 - s.beta1) * g;
  v = s.beta2 * v + (1 - s.beta2) * g * g;
  const double rate = s.lr / (1 - std::pow(s.beta1, static_cast<double>(s.step)));
  const double update = rate * m / (std::sqrt(v / (1 - std::pow(s.beta2, static_cast<double>(s.step)))) + s.eps);
  return {p - (s.decoupled ? s.lr * s.weight_decay * p : 0) - update, m, v, update};
}

std::vector<float> of_all_sizes(int64_t count, uint64_t seed, double low, double high, bool signs) {
  Random random(seed);
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    const double magnitude = std::pow(10, random.between(low, high));
    values.push_back(static_cast<float>(signs && random.bits() % 2 ? -magnitude : magnitude));
  }
  return values;
}

const Settings kUsual = {1e-4, 0.9, 0.95, 1e-8, 0.1, 10, 1, true};
const Settings kSettings[] = {
    kUsual,
    {1e-3, 0.9, 0.999, 1e-8, 0.01, 1, 1, true},
    {0.1, 0.5, 0.9, 1e-3, 0.0, 100000, 0.37, true},
    {1e-2, 0.99, 0.999, 1e-12, 0.3, 3, 1e-3, true},
    {1e-3, 0.9, 0.99, 1e-8, 0.1, 7, 0.5, false},
    {1e-3, 0.0, 0.3, 1e-8, 0.1, 5, 0.5, true},
    {1e-3, 0.9, 0.0, 1e-8, 0.1, 2, 1, false},
};

}  // namespace

TEST_CASE("a step of AdamW is near double whatever the size of gradients, the same bits on every instruction set") {
  constexpr int64_t count = 100000;
  std::vector<uint64_t> prints;
  for_every_isa<AdamwKernels>([&](const std::string& isa, const AdamwKernels& kernels) {
    double worst_update = 0, worst_first = 0, worst_second = 0;
    uint64_t print = 0;
    for (const Settings& settings : kSettings) {
      const auto p = of_all_sizes(count, 1, -6, 1, true), g = of_all_sizes(count, 2, -12, 3, true);
      const auto m = of_all_sizes(count, 3, -12, 3, true), v = of_all_sizes(count, 4, -24, 6, false);
      auto parameter = p, first = m, second = v;
      const AdamwJob job = {parameter.data(), g.data(), first.data(), second.data(), nullptr,
                            settings.coefficients(), settings.decoupled};
      kernels.float32(job, 0, count);
      for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
        const float gradient = gradient_of(settings, p[i], g[i]);
        const Numbers exact = expected(settings, p[i], gradient, m[i], v[i]);
        const double terms = std::fabs(settings.beta1 * m[i]) + std::fabs((1 - settings.beta1) * gradient);
        worst_first = std::max(worst_first, std::fabs(first[i] - exact.m) / terms);
        worst_second = std::max(worst_second, std::fabs(second[i] - exact.v) / exact.v);
        // Of the update by itself what the moments, as they were stored, make of it.
        const double rate = settings.lr / (1 - std::pow(settings.beta1, static_cast<double>(settings.step)));
        const double correction = 1 - std::pow(settings.beta2, static_cast<double>(settings.step));
        const double update = rate * first[i] / (std::sqrt(second[i] / correction) + settings.eps);
        const double decay = settings.decoupled ? settings.lr * settings.weight_decay * p[i] : 0;
        const double error = std::fabs(parameter[i] - (p[i] - decay - update)) - 1.2e-7 * std::fabs(p[i]);
        worst_update = std::max(worst_update, error / std::fabs(update));
      }
      print = fingerprint(parameter, fingerprint(first, fingerprint(second, print)));
    }
    MESSAGE(isa, ": AdamW within ", worst_first, " and ", worst_second, " of the moments, ", worst_update,
            " of the update");
    CHECK(worst_first <= 2e-7);
    CHECK(worst_second <= 2e-7);
    CHECK(worst_update <= 6e-7);
    prints.push_back(print);
  });
  for (const uint64_t print : prints) CHECK(print == prints.front());
  CHECK(prints.front() == 0xe74b38c024308763ull);  // what x86 and Arm must find
}

TEST_CASE("of training's own settings a step is within 2e-7 of the parameter") {
  constexpr int64_t count = 50000;
  const auto p = of_all_sizes(count, 1, -3, 0, true);
  for_every_isa<AdamwKernels>([&](const std::string& isa, const AdamwKernels& kernels) {
    auto parameter = p;
    std::vector<double> exact(p.begin(), p.end()), exact_first(p.size()), exact_second(p.size());
    std::vector<float> first(p.size()), second(p.size());
    double worst = 0;
    for (int64_t step = 1; step <= 5; ++step) {
      Settings settings = kUsual;
      settings.step = step;
      const auto g = of_all_sizes(count, 10 + static_cast<uint64_t>(step), -6, -1, true);
      const auto before = parameter;
      const auto first_before = first, second_before = second;
      kernels.float32({parameter.data(), g.data(), first.data(), second.data(), nullptr, settings.coefficients(), true},
                      0, count);
      for (size_t i = 0; i < p.size(); ++i) {
        const Numbers number = expected(settings, before[i], g[i], first_before[i], second_before[i]);
        worst = std::max(worst, std::fabs(parameter[i] - number.p) / std::fabs(number.p));
      }
    }
    MESSAGE(isa, ": parameters within ", worst);
    CHECK(worst <= 2e-7);
  });
}

TEST_CASE("every parameter of every size meets its own gradient and moments, and nothing else is touched") {
  for_every_isa<AdamwKernels>([&](const std::string& isa, const AdamwKernels& kernels) {
    CAPTURE(isa);
    for (const int64_t count : sizes())
      for (const Edge edge : {Edge::AtStart, Edge::AtEnd}) {
        CAPTURE(count);
        Guarded<float> p(count, edge), g(count, edge), m(count, edge), v(count, edge);
        Guarded<uint16_t> low(count, edge);
        const auto p0 = uniform(count, 1), g0 = uniform(count, 2), m0 = uniform(count, 3), v0 = uniform(count, 4, 0, 4);
        copy_into(p, p0);
        copy_into(g, g0);
        copy_into(m, m0);
        copy_into(v, v0);
        const AdamwJob job = {p.data(), g.data(), m.data(), v.data(), low.data(), kUsual.coefficients(), true};
        kernels.float32_to_bfloat16(job, count / 3, count);
        kernels.float32_to_bfloat16(job, 0, count / 3);
        int64_t wrong = 0;
        for (int64_t i = 0; i < count; ++i) {
          const auto k = static_cast<size_t>(i);
          const Numbers exact = expected(kUsual, p0[k], g0[k], m0[k], v0[k]);
          wrong += !(std::fabs(p[i] - exact.p) <= 1.2e-7 * std::fabs(p0[k]) + 6e-7 * std::fabs(exact.update) + 1e-9);
          wrong += !(std::fabs(m[i] - exact.m) <= 2e-7 * (0.9 * std::fabs(m0[k]) + 0.1 * std::fabs(g0[k])));
          wrong += !(std::fabs(v[i] - exact.v) <= 2e-7 * exact.v);
          wrong += low[i] != kBFloat16.nearest(p[i]);
        }
        CHECK(wrong == 0);
        CHECK(p.intact());
        CHECK(m.intact());
        CHECK(v.intact());
        CHECK(low.intact());
      }
  });
}

TEST_CASE("gradients of halves are those of float32 that they stand for, and parameters of halves are rounded once") {
  constexpr int64_t count = 777;
  for_every_isa<AdamwKernels>([&](const std::string& isa, const AdamwKernels& kernels) {
    CAPTURE(isa);
    for (const HalfFormat* format : {&kBFloat16, &kFloat16}) {
      const bool brain = format == &kBFloat16;
      Random random(5);
      std::vector<uint16_t> g(count), low(count), low_of_wide(count);
      std::vector<float> wide_g;
      for (uint16_t& half : g) {
        half = format->nearest(random.between(-4, 4));
        wide_g.push_back(static_cast<float>(format->value(half)));
      }
      std::vector<float> p[3], m[3], v[3];
      for (int i = 0; i < 3; ++i) p[i] = uniform(count, 1), m[i] = uniform(count, 3), v[i] = uniform(count, 4, 0, 4);
      const auto job = [&](int i, const void* gradient, void* halves) {
        return AdamwJob{p[i].data(), gradient, m[i].data(), v[i].data(), halves, kUsual.coefficients(), true};
      };
      (brain ? kernels.bfloat16 : kernels.float16)(job(0, g.data(), low.data()), 0, count);
      (brain ? kernels.float32_to_bfloat16 : kernels.float32_to_float16)(job(1, wide_g.data(), low_of_wide.data()), 0,
                                                                       count);
      kernels.float32(job(2, wide_g.data(), nullptr), 0, count);
      int64_t wrong = 0;
      for (size_t k = 0; k < static_cast<size_t>(count); ++k) {
        for (int i = 0; i < 2; ++i)
          wrong += !same(p[i][k], p[2][k]) || !same(m[i][k], m[2][k]) || !same(v[i][k], v[2][k]);
        wrong += low[k] != format->nearest(p[2][k]) || low_of_wide[k] != low[k];
      }
      CHECK(wrong == 0);
    }
  });
}

TEST_CASE("a scaled gradient is one scaled before, what has no gradient only decays, and a NaN is not hidden") {
  for_every_isa<AdamwKernels>([&](const std::string& isa, const AdamwKernels& kernels) {
    CAPTURE(isa);
    constexpr int64_t count = 100;
    const auto p = uniform(count, 1), m = uniform(count, 3), v = uniform(count, 4, 0, 4);
    auto g = uniform(count, 2);
    auto p1 = p, m1 = m, v1 = v, p2 = p, m2 = m, v2 = v;
    Settings settings = kUsual;
    settings.scale = 0.3;
    kernels.float32({p1.data(), g.data(), m1.data(), v1.data(), nullptr, settings.coefficients(), true}, 0, count);
    for (float& value : g) value *= 0.3f;
    kernels.float32({p2.data(), g.data(), m2.data(), v2.data(), nullptr, kUsual.coefficients(), true}, 0, count);
    CHECK(fingerprint(p1) == fingerprint(p2));
    CHECK(fingerprint(m1) == fingerprint(m2));
    CHECK(fingerprint(v1) == fingerprint(v2));

    std::vector<float> none(count, 0.0f), first(count, 0.0f), second(count, 0.0f);
    p1 = p;
    kernels.float32({p1.data(), none.data(), first.data(), second.data(), nullptr, kUsual.coefficients(), true}, 0,
                    count);
    for (size_t i = 0; i < p.size(); ++i) {
      CHECK(std::fabs(p1[i] - p[i] * (1 - 1e-5)) <= 6e-8 * std::fabs(p[i]));
      CHECK((first[i] == 0 && second[i] == 0));
    }

    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    std::vector<float> odd = {nan, infinity, 1e30f, 1}, q(4, 1.0f), a(4, 0.0f), b(4, 0.0f);
    kernels.float32({q.data(), odd.data(), a.data(), b.data(), nullptr, kUsual.coefficients(), true}, 0, 4);
    for (size_t i = 0; i < 3; ++i) CHECK(q[i] != q[i]);
    CHECK(a[0] != a[0]);
    CHECK(b[0] != b[0]);
    CHECK(std::isinf(b[2]));
    CHECK(q[3] == q[3]);
  });
}
