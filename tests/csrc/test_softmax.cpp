// The softmax kernels of every instruction set against double, and against each other.
#include <doctest/doctest.h>

#include "kernels/softmax/softmax.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

SoftmaxJob job_of(const void* x, const void* gradient, void* out, int64_t columns, int64_t queries, float scale) {
  return {x, gradient, out, columns, std::max<int64_t>(queries, 1), queries > 0, scale};
}

// The columns that a row sees; queries is 0 when there is no causal mask.
int64_t visible(int64_t row, int64_t columns, int64_t queries) {
  return queries == 0 ? columns : columns - queries + row % queries + 1;
}

std::vector<double> softmax(const std::vector<float>& x, int64_t columns, int64_t queries, double scale) {
  std::vector<double> y(x.size());
  for (size_t row = 0; row * static_cast<size_t>(columns) < x.size(); ++row) {
    const size_t begin = row * static_cast<size_t>(columns);
    const size_t end = begin + static_cast<size_t>(visible(static_cast<int64_t>(row), columns, queries));
    double largest = -kInfinity, sum = 0;
    for (size_t i = begin; i < end; ++i) largest = std::max(largest, static_cast<double>(x[i]));
    for (size_t i = begin; i < end; ++i) sum += y[i] = std::exp(scale * (x[i] - largest));
    for (size_t i = begin; i < end; ++i) y[i] /= sum;
  }
  return y;
}

std::vector<double> softmax_gradient(const std::vector<float>& y, const std::vector<float>& gradient, int64_t columns,
                                     double scale) {
  std::vector<double> of_x(y.size());
  for (size_t begin = 0; begin < y.size(); begin += static_cast<size_t>(columns)) {
    double sum = 0;
    const size_t end = begin + static_cast<size_t>(columns);
    for (size_t i = begin; i < end; ++i) sum += static_cast<double>(y[i]) * gradient[i];
    for (size_t i = begin; i < end; ++i) of_x[i] = scale * y[i] * (gradient[i] - sum);
  }
  return of_x;
}

}  // namespace

TEST_CASE("softmax and its gradient are near double at every size, causal or not, and nothing else is touched") {
  std::vector<uint64_t> prints;
  for_every_isa<SoftmaxKernels>([&](const std::string& isa, const SoftmaxKernels& kernels) {
    uint64_t print = fingerprint({});
    double worst = 0, worst_gradient = 0;
    for (const int64_t columns : sizes())
      for (int64_t queries : {0, 1, 3, 70}) {
        queries = std::min(columns, queries);
        if (columns == 0) continue;
        CAPTURE(isa);
        CAPTURE(columns);
        CAPTURE(queries);
        const int64_t rows = queries == 0 ? 3 : 2 * queries;
        const float scale = queries == 1 ? 0.125f : 1.0f;
        const auto scores = uniform(rows * columns, static_cast<uint64_t>(columns), -10, 10);
        const auto upstream = uniform(rows * columns, static_cast<uint64_t>(columns) + 1);
        const Edge edge = queries % 2 == 0 ? Edge::AtEnd : Edge::AtStart;
        Guarded<float> x(rows * columns, edge), gradient(rows * columns, edge), y(rows * columns, edge);
        Guarded<float> of_x(rows * columns, edge);
        copy_into(x, scores);
        copy_into(gradient, upstream);
        for (int64_t row = 0; row < rows; ++row)  // what is not seen is not read
          for (int64_t i = visible(row, columns, queries); i < columns; ++i) x[row * columns + i] = kNan;
        const auto job = job_of(x.data(), nullptr, y.data(), columns, queries, scale);
        kernels.forward_float32(job, 1, rows, nullptr);
        kernels.forward_float32(job, 0, 1, nullptr);
        kernels.backward_float32(job_of(y.data(), gradient.data(), of_x.data(), columns, queries, scale), 0, rows);
        CHECK(y.intact());
        CHECK(of_x.intact());
        const std::vector<float> found(y.data(), y.data() + y.size()), slopes(of_x.data(), of_x.data() + of_x.size());
        const auto exact = softmax(scores, columns, queries, scale);
        const auto exact_slopes = softmax_gradient(found, upstream, columns, scale);
        for (size_t i = 0; i < exact.size(); ++i) {
          if (exact[i] == 0) {
            CHECK(found[i] == 0);
            CHECK(slopes[i] == 0);
            continue;
          }
          worst = std::max(worst, std::fabs(found[i] - exact[i]) / exact[i] - 8e-8 * 20 * scale);
          worst_gradient = std::max(worst_gradient, std::fabs(slopes[i] - exact_slopes[i]) / (scale * found[i]));
        }
        print = fingerprint(slopes, fingerprint(found, print));
      }
    MESSAGE(isa, ": softmax within ", worst, " and what a difference of 20 costs, gradient within ", worst_gradient,
            " of scale y");
    CHECK(worst <= 5e-7);
    CHECK(worst_gradient <= 2e-6);  // of gradients up to 4
    prints.push_back(print);
  });
  for (const uint64_t print : prints) CHECK(print == prints.front());
  CHECK(prints.front() == 0x69cefd5cf5ef9b6ull);  // what x86 and Arm must find
}

TEST_CASE("far below the largest element softmax goes to zero, and no number on the way is far off") {
  std::vector<float> scores;
  for (double v = -200; v <= 0; v += 0.01) scores.push_back(static_cast<float>(v));
  const auto columns = static_cast<int64_t>(scores.size());
  const auto exact = softmax(scores, columns, 0, 1);
  for_every_isa<SoftmaxKernels>([&](const std::string& isa, const SoftmaxKernels& kernels) {
    CAPTURE(isa);
    std::vector<float> y(scores.size());
    kernels.forward_float32(job_of(scores.data(), nullptr, y.data(), columns, 0, 1), 0, 1, nullptr);
    int64_t wrong = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      const double distance = scores.back() - scores[i];
      if (distance >= 86)
        wrong += y[i] != 0;
      else
        wrong += !(std::fabs(y[i] - exact[i]) <= (5e-7 + 8e-8 * distance) * exact[i] + 5e-38);
    }
    CHECK(wrong == 0);
  });
}

TEST_CASE("infinities and NaNs among what a row sees") {
  for_every_isa<SoftmaxKernels>([&](const std::string& isa, const SoftmaxKernels& kernels) {
    CAPTURE(isa);
    const int64_t columns = 100;
    const auto run = [&](std::vector<float> x) {
      kernels.forward_float32(job_of(x.data(), nullptr, x.data(), columns, 0, 1), 0, 1, nullptr);  // in place
      return x;
    };
    for (const int64_t place : {0, 50, 99})
      for (const float bad : {kNan, kInfinity}) {
        std::vector<float> x = uniform(columns, 3);
        x[static_cast<size_t>(place)] = bad;
        for (const float y : run(x)) CHECK(y != y);
      }
    for (const float y : run(std::vector<float>(columns, -kInfinity))) CHECK(y != y);
    std::vector<float> x(columns, -kInfinity);
    x[70] = -3;
    const auto y = run(x);
    for (int64_t i = 0; i < columns; ++i) CHECK(y[static_cast<size_t>(i)] == (i == 70 ? 1.0f : 0.0f));
  });
}

TEST_CASE("tasks of a causal softmax are all rows once, and equal shares of them equal work") {
  const int64_t columns = 75, queries = 4 * kSoftmaxBlock + 5, rows = 2 * queries;
  for_every_isa<SoftmaxKernels>([&](const std::string& isa, const SoftmaxKernels& kernels) {
    CAPTURE(isa);
    const auto x = uniform(rows * columns, 1);
    std::vector<float> y(x.size(), -1.0f);
    std::vector<int64_t> seen;  // by two blocks of tasks
    for (int64_t task = 0; task < rows; ++task) {
      const auto before = y;
      kernels.forward_float32(job_of(x.data(), nullptr, y.data(), columns, queries, 1), task, task + 1, nullptr);
      int64_t written = 0, positive = 0;
      for (size_t i = 0; i < y.size(); ++i) written += y[i] != before[i], positive += y[i] != before[i] && y[i] > 0;
      CHECK(written == columns);
      const auto share = static_cast<size_t>(task % queries / (2 * kSoftmaxBlock));
      seen.resize(std::max(seen.size(), share + 1));
      seen[share] += positive;
    }
    CHECK(seen.size() == 3);
    CHECK(seen[0] == seen[1]);
    for (const float v : y) CHECK(v >= 0);
  });
}

TEST_CASE("softmax of halves is computed in float32 and rounded once") {
  const int64_t columns = 333, rows = 3;
  for_every_isa<SoftmaxKernels>([&](const std::string& isa, const SoftmaxKernels& kernels) {
    CAPTURE(isa);
    for (const HalfFormat* format : {&kBFloat16, &kFloat16}) {
      const bool brain = format == &kBFloat16;
      Random random(5);
      std::vector<uint16_t> x(columns * rows), gradient(columns * rows);
      std::vector<float> wide_x, wide_y(x.size()), wide_gradient, wide_of_x(x.size()), buffer(columns);
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = format->nearest(random.between(-8, 8));
        gradient[i] = format->nearest(random.between(-4, 4));
        wide_x.push_back(static_cast<float>(format->value(x[i])));
        wide_gradient.push_back(static_cast<float>(format->value(gradient[i])));
      }
      Guarded<uint16_t> y(columns * rows, Edge::AtEnd), of_x(columns * rows, Edge::AtEnd);
      (brain ? kernels.forward_bfloat16 : kernels.forward_float16)(
          job_of(x.data(), nullptr, y.data(), columns, rows, 0.5f), 0, rows, buffer.data());
      kernels.forward_float32(job_of(wide_x.data(), nullptr, wide_y.data(), columns, rows, 0.5f), 0, rows, nullptr);
      int64_t wrong = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        wrong += y[static_cast<int64_t>(i)] != format->nearest(wide_y[i]);
        wide_y[i] = static_cast<float>(format->value(y[static_cast<int64_t>(i)]));
      }
      (brain ? kernels.backward_bfloat16 : kernels.backward_float16)(
          job_of(y.data(), gradient.data(), of_x.data(), columns, rows, 0.5f), 0, rows);
      kernels.backward_float32(
          job_of(wide_y.data(), wide_gradient.data(), wide_of_x.data(), columns, rows, 0.5f), 0, rows);
      for (size_t i = 0; i < x.size(); ++i) wrong += of_x[static_cast<int64_t>(i)] != format->nearest(wide_of_x[i]);
      CHECK(wrong == 0);
      CHECK(y.intact());
      CHECK(of_x.intact());
    }
  });
}
