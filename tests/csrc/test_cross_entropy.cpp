// The cross_entropy kernels of every instruction set against double, and against each other.
#include <doctest/doctest.h>

#include "kernels/cross_entropy/cross_entropy.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

constexpr int64_t kRows = 4;

// Targets of four rows: the first and the last of a rank's columns, one of the rank before it and one of that behind it.
std::vector<int64_t> targets_around(int64_t first, int64_t columns) {
  return {first, first + columns - 1, first - 1, first + columns};
}

struct Statistics {
  Guarded<float> largest, sums, at_target;
  explicit Statistics(Edge edge) : largest(kRows, edge), sums(kRows, edge), at_target(kRows, edge) {}
  bool intact() const { return largest.intact() && sums.intact() && at_target.intact(); }
  CrossEntropyJob job(const void* logits, int64_t columns, const std::vector<int64_t>& targets, int64_t first) {
    return {logits, columns, targets.data(), first, largest.data(), sums.data(), at_target.data(), nullptr, nullptr,
            nullptr};
  }
};

CrossEntropyJob backward_of(CrossEntropyJob job, const std::vector<float>& gradient, const std::vector<float>& factors,
                            void* out) {
  job.gradient = gradient.data();
  job.factors = factors.data();
  job.out = out;
  return job;
}

}  // namespace

TEST_CASE("cross-entropy's statistics and gradient are near double at every size, and nothing else is touched") {
  std::vector<uint64_t> prints;
  for_every_isa<CrossEntropyKernels>([&](const std::string& isa, const CrossEntropyKernels& kernels) {
    uint64_t print = fingerprint({});
    double worst_sum = 0, worst = 0;
    for (const int64_t columns : sizes())
      for (const Edge edge : {Edge::AtStart, Edge::AtEnd}) {
        if (columns == 0) continue;
        CAPTURE(isa);
        CAPTURE(columns);
        const int64_t first = 1000;
        const auto values = uniform(kRows * columns, static_cast<uint64_t>(columns), -10, 10);
        const auto targets = targets_around(first, columns);
        const std::vector<float> gradient = {0.5f, -2, 1, 3};
        Guarded<float> logits(kRows * columns, edge);
        copy_into(logits, values);
        Statistics found(edge);
        const auto job = found.job(logits.data(), columns, targets, first);
        kernels.forward_float32(job, 2, kRows);
        kernels.forward_float32(job, 0, 2);
        std::vector<float> factors, bits;
        for (int64_t row = 0; row < kRows; ++row) {
          const auto at = values.begin() + row * columns;
          CHECK(found.largest[row] == *std::max_element(at, at + columns));
          double sum = 0;
          for (int64_t i = 0; i < columns; ++i) sum += std::exp(static_cast<double>(at[i]) - found.largest[row]);
          worst_sum = std::max(worst_sum, std::fabs(found.sums[row] - sum) / sum);
          CHECK(found.at_target[row] == (row > 1 ? 0.0f : at[row == 0 ? 0 : columns - 1]));
          factors.push_back(gradient[static_cast<size_t>(row)] / found.sums[row]);
          bits.push_back(found.sums[row]);
        }
        kernels.backward_float32(backward_of(job, gradient, factors, logits.data()), 0, kRows);  // in place
        for (int64_t row = 0; row < kRows; ++row)
          for (int64_t i = 0; i < columns; ++i) {
            const auto at = static_cast<size_t>(row * columns + i);
            const double g = gradient[static_cast<size_t>(row)], factor = factors[static_cast<size_t>(row)];
            const double power = std::exp(static_cast<double>(values[at]) - found.largest[row]) * factor;
            const bool is_target = targets[static_cast<size_t>(row)] == first + i;
            const double exact = is_target ? power - g : power;
            const double error = std::fabs(logits[static_cast<int64_t>(at)] - exact) / std::fabs(is_target ? g : power);
            worst = std::max(worst, error - 8e-8 * (found.largest[row] - values[at]));
            bits.push_back(logits[static_cast<int64_t>(at)]);
          }
        CHECK(logits.intact());
        CHECK(found.intact());
        print = fingerprint(bits, print);
      }
    MESSAGE(isa, ": sums within ", worst_sum, ", gradient within ", worst, " and what the difference costs");
    CHECK(worst_sum <= 6e-7);
    CHECK(worst <= 3e-7);
    prints.push_back(print);
  });
  for (const uint64_t print : prints) CHECK(print == prints.front());
  CHECK(prints.front() == 0xcbf79ed9bcaf97a9ull);  // what x86 and Arm must find
}

TEST_CASE("logits far below the largest one and infinite ones") {
  for_every_isa<CrossEntropyKernels>([&](const std::string& isa, const CrossEntropyKernels& kernels) {
    CAPTURE(isa);
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float low : {-90.0f, -1e4f, -3e38f, -infinity}) {
      std::vector<float> logits(kRows * 50, low);
      for (int64_t row = 0; row < kRows; ++row) logits[static_cast<size_t>(row * 50 + 7)] = 2.0f;
      Statistics found(Edge::AtEnd);
      const std::vector<int64_t> targets = {7, 7, 8, 8};
      const auto job = found.job(logits.data(), 50, targets, 0);
      kernels.forward_float32(job, 0, kRows);
      const std::vector<float> gradient(kRows, 1.0f), factors(kRows, 1.0f);
      std::vector<float> out(logits.size());
      kernels.backward_float32(backward_of(job, gradient, factors, out.data()), 0, kRows);
      for (int64_t row = 0; row < kRows; ++row) {
        CHECK(found.sums[row] == 1.0f);
        for (int64_t i = 0; i < 50; ++i) {
          const float expected = (i == 7 ? 1.0f : 0.0f) - (i == targets[static_cast<size_t>(row)] ? 1.0f : 0.0f);
          CHECK(std::fabs(out[static_cast<size_t>(row * 50 + i)] - expected) < 1e-37f);
        }
      }
    }
    for (const float bad : {infinity, std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> logits(kRows * 50, 0.0f);
      logits[49] = bad;
      Statistics found(Edge::AtEnd);
      const std::vector<int64_t> targets(kRows, 0);
      kernels.forward_float32(found.job(logits.data(), 50, targets, 0), 0, kRows);
      CHECK(found.sums[0] != found.sums[0]);
      CHECK(found.sums[1] == 50.0f);
    }
  });
}

TEST_CASE("cross-entropy of halves is computed in float32 and its gradient rounded once") {
  const int64_t columns = 333;
  for_every_isa<CrossEntropyKernels>([&](const std::string& isa, const CrossEntropyKernels& kernels) {
    CAPTURE(isa);
    for (const HalfFormat* format : {&kBFloat16, &kFloat16}) {
      const bool brain = format == &kBFloat16;
      Random random(5);
      Guarded<uint16_t> logits(kRows * columns, Edge::AtEnd), out(kRows * columns, Edge::AtEnd);
      std::vector<float> wide, wide_out(static_cast<size_t>(logits.size()));
      for (int64_t i = 0; i < logits.size(); ++i) {
        logits[i] = format->nearest(random.between(-6, 6));
        wide.push_back(static_cast<float>(format->value(logits[i])));
      }
      const auto targets = targets_around(0, columns);
      const std::vector<float> gradient = {0.5f, -2, 1, 3}, factors = {0.25f, 0.125f, 1, 2};
      Statistics found(Edge::AtEnd), expected(Edge::AtEnd);
      const auto job = found.job(logits.data(), columns, targets, 0);
      const auto wide_job = expected.job(wide.data(), columns, targets, 0);
      (brain ? kernels.forward_bfloat16 : kernels.forward_float16)(job, 0, kRows);
      (brain ? kernels.backward_bfloat16 : kernels.backward_float16)(
          backward_of(job, gradient, factors, out.data()), 0, kRows);
      kernels.forward_float32(wide_job, 0, kRows);
      kernels.backward_float32(backward_of(wide_job, gradient, factors, wide_out.data()), 0, kRows);
      int64_t wrong = 0;
      for (int64_t row = 0; row < kRows; ++row)
        wrong += !same(found.sums[row], expected.sums[row]) + !same(found.at_target[row], expected.at_target[row]);
      for (int64_t i = 0; i < out.size(); ++i) wrong += out[i] != format->nearest(wide_out[static_cast<size_t>(i)]);
      CHECK(wrong == 0);
      CHECK(out.intact());
    }
  });
}
