// The norm kernels of every instruction set against double, and against each other.
#include <doctest/doctest.h>

#include "kernels/norm/norm.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

constexpr float kEps = 1e-5f;
constexpr int64_t kRows = 5, kBlocks = 3;

// A case of kRows rows, and what double makes of it.
struct Case {
  int64_t columns;
  bool centered;
  std::vector<float> x, weight, bias, gradient;
  std::vector<double> y, of_x, of_weight, of_bias;
  // What sums of many terms may differ by: each is bounded by its terms' magnitudes.
  double largest = 0;

  Case(int64_t columns, bool centered, double mean, uint64_t seed)
      : columns(columns), centered(centered), x(uniform(kRows * columns, seed, mean - 2, mean + 2)),
        weight(uniform(columns, seed + 1, 0.5, 1.5)), bias(uniform(columns, seed + 2)),
        gradient(uniform(kRows * columns, seed + 3)), y(x.size()), of_x(x.size()), of_weight(weight.size()),
        of_bias(weight.size()) {
    for (int64_t row = 0; row < kRows; ++row) compute(row);
  }

  void compute(int64_t row) {
    const auto n = static_cast<double>(columns);
    const auto at = static_cast<size_t>(row * columns);
    double center = 0, squares = 0, with_weight = 0, product = 0;
    for (size_t i = 0; centered && i < weight.size(); ++i) center += x[at + i] / n;
    for (size_t i = 0; i < weight.size(); ++i) squares += (x[at + i] - center) * (x[at + i] - center) / n;
    const double rstd = 1 / std::sqrt(squares + kEps);
    for (size_t i = 0; i < weight.size(); ++i) {
      const double hat = (x[at + i] - center) * rstd, g = gradient[at + i];
      y[at + i] = hat * weight[i] + bias[i];
      of_weight[i] += g * hat;
      of_bias[i] += g;
      if (centered) with_weight += g * weight[i] / n;
      product += g * weight[i] * hat / n;
    }
    for (size_t i = 0; i < weight.size(); ++i) {
      const double hat = (x[at + i] - center) * rstd;
      of_x[at + i] = rstd * (gradient[at + i] * weight[i] - with_weight - hat * product);
      largest = std::max(largest, rstd * (std::fabs(gradient[at + i] * weight[i]) + 4));
    }
  }
};

template <typename T> struct Arrays {
  Guarded<T> x, weight, bias, gradient, y, of_x;
  Guarded<float> means, rstds, sums;
  Arrays(int64_t columns, Edge edge)
      : x(kRows * columns, edge), weight(columns, edge), bias(columns, edge), gradient(kRows * columns, edge),
        y(kRows * columns, edge), of_x(kRows * columns, edge), means(kRows, edge), rstds(kRows, edge),
        sums(kBlocks * 2 * columns, edge) {}

  NormJob job(int64_t columns, bool has_bias) {
    NormJob job = {};
    job.x = x.data();
    job.weight = weight.data();
    job.bias = has_bias ? bias.data() : nullptr;
    job.num_columns = columns;
    job.eps = kEps;
    job.means = means.data();
    job.rstds = rstds.data();
    job.out = y.data();
    return job;
  }
  NormJob backward_job(int64_t columns, bool wants_bias) {
    NormJob job = this->job(columns, false);
    job.out = of_x.data();
    job.gradient = gradient.data();
    job.num_rows = kRows;
    job.num_blocks = kBlocks;
    job.sums = sums.data();
    job.wants_bias = wants_bias;
    return job;
  }
  bool intact() const { return y.intact() && of_x.intact() && means.intact() && rstds.intact() && sums.intact(); }
};

float sum_of_blocks(Guarded<float>& sums, int64_t stride, int64_t i) {
  float sum = 0;
  for (int64_t block = 0; block < kBlocks; ++block) sum += sums[block * stride + i];
  return sum;
}

}  // namespace

TEST_CASE("norms and their gradients are near double at every size, and nothing else is touched") {
  std::vector<uint64_t> prints;
  for_every_isa<NormKernels>([&](const std::string& isa, const NormKernels& kernels) {
    uint64_t print = fingerprint({});
    double worst = 0, worst_gradient = 0, worst_sum = 0;
    for (const int64_t columns : sizes())
      for (const bool centered : {false, true}) {
        if (columns == 0) continue;
        CAPTURE(isa);
        CAPTURE(columns);
        CAPTURE(centered);
        Case test(columns, centered, 0.5, static_cast<uint64_t>(columns));
        for (const Edge edge : {Edge::AtStart, Edge::AtEnd}) {
          Arrays<float> arrays(columns, edge);
          copy_into(arrays.x, test.x);
          copy_into(arrays.weight, test.weight);
          copy_into(arrays.bias, test.bias);
          copy_into(arrays.gradient, test.gradient);
          // In parts, as threads would.
          const NormJob job = arrays.job(columns, true), backward = arrays.backward_job(columns, true);
          const auto run = centered ? kernels.layer_float32 : kernels.rms_float32;
          const auto run_backward = centered ? kernels.layer_backward_float32 : kernels.rms_backward_float32;
          run(job, 3, kRows);
          run(job, 0, 3);
          run_backward(backward, 1, kBlocks);
          run_backward(backward, 0, 1);
          CHECK(arrays.intact());
          for (int64_t i = 0; i < kRows * columns; ++i) {
            const auto at = static_cast<size_t>(i);
            worst = std::max(worst, std::fabs(arrays.y[i] - test.y[at]) / std::max(1.0, std::fabs(test.y[at])));
            // A row of a few equal elements has a deviation of rounding errors only.
            if (columns <= 3) continue;
            worst_gradient = std::max(worst_gradient, std::fabs(arrays.of_x[i] - test.of_x[at]) / test.largest);
          }
          std::vector<float> bits;
          for (int64_t i = 0; i < columns; ++i) {
            const auto at = static_cast<size_t>(i);
            const float of_weight = sum_of_blocks(arrays.sums, 2 * columns, i);
            const float of_bias = sum_of_blocks(arrays.sums, 2 * columns, columns + i);
            worst_sum = std::max(worst_sum, std::fabs(of_weight - test.of_weight[at]));
            worst_sum = std::max(worst_sum, std::fabs(of_bias - test.of_bias[at]));
            bits.insert(bits.end(), {of_weight, of_bias});
          }
          for (int64_t i = 0; i < kRows * columns; ++i) bits.insert(bits.end(), {arrays.y[i], arrays.of_x[i]});
          print = fingerprint(bits, print);
        }
      }
    MESSAGE(isa, ": norm within ", worst, ", gradient within ", worst_gradient, ", sums within ", worst_sum);
    CHECK(worst <= 1e-6);
    CHECK(worst_gradient <= 1e-6);
    CHECK(worst_sum <= 1e-5);
    prints.push_back(print);
  });
  for (const uint64_t print : prints) CHECK(print == prints.front());
  CHECK(prints.front() == 0xc4578bf41ea85489ull);  // what x86 and Arm must find
}

TEST_CASE("a mean far from zero costs a norm no digits beyond those it costs the numbers themselves") {
  const int64_t columns = 1000;
  Case test(columns, true, 1000, 7);
  for_every_isa<NormKernels>([&](const std::string& isa, const NormKernels& kernels) {
    CAPTURE(isa);
    Arrays<float> arrays(columns, Edge::AtEnd);
    copy_into(arrays.x, test.x);
    copy_into(arrays.weight, test.weight);
    copy_into(arrays.bias, test.bias);
    kernels.layer_float32(arrays.job(columns, true), 0, kRows);
    double worst = 0;
    for (int64_t i = 0; i < kRows * columns; ++i)
      worst = std::max(worst, std::fabs(arrays.y[i] - test.y[static_cast<size_t>(i)]));
    // Of numbers around 1000 the last place weighs 6e-5, and a mean of them has an error of that size; the deviation is
    // 1.15. Squares summed about zero would be wrong by a tenth.
    CHECK(worst <= 2e-4);
  });
}

TEST_CASE("a bias that is not there is zero, and its gradient is not made") {
  const int64_t columns = 100;
  Case test(columns, true, 0, 3);
  for_every_isa<NormKernels>([&](const std::string& isa, const NormKernels& kernels) {
    CAPTURE(isa);
    for (const bool centered : {false, true}) {
      Arrays<float> with(columns, Edge::AtEnd), without(columns, Edge::AtEnd);
      for (Arrays<float>* arrays : {&with, &without}) {
        copy_into(arrays->x, test.x);
        copy_into(arrays->weight, test.weight);
        copy_into(arrays->gradient, test.gradient);
        for (int64_t i = 0; i < columns; ++i) arrays->bias[i] = 0.0f;
        (centered ? kernels.layer_float32 : kernels.rms_float32)(arrays->job(columns, arrays == &with), 0, kRows);
        (centered ? kernels.layer_backward_float32 : kernels.rms_backward_float32)(
            arrays->backward_job(columns, arrays == &with), 0, kBlocks);
      }
      int64_t wrong = 0;
      for (int64_t i = 0; i < kRows * columns; ++i)
        wrong += !(with.y[i] == without.y[i]) + !same(with.of_x[i], without.of_x[i]);
      for (int64_t i = 0; i < columns; ++i)
        wrong += !same(sum_of_blocks(with.sums, 2 * columns, i), sum_of_blocks(without.sums, columns, i));
      CHECK(wrong == 0);
    }
  });
}

TEST_CASE("norms of halves are computed in float32 and rounded once") {
  const int64_t columns = 333;
  for_every_isa<NormKernels>([&](const std::string& isa, const NormKernels& kernels) {
    CAPTURE(isa);
    for (const HalfFormat* format : {&kBFloat16, &kFloat16})
      for (const bool centered : {false, true}) {
        const bool brain = format == &kBFloat16;
        Arrays<uint16_t> halves(columns, Edge::AtEnd);
        Arrays<float> wide(columns, Edge::AtEnd);
        Random random(5);
        const auto fill = [&](Guarded<uint16_t>& half, Guarded<float>& values) {
          for (int64_t i = 0; i < half.size(); ++i) {
            half[i] = format->nearest(random.between(-2, 3));
            values[i] = static_cast<float>(format->value(half[i]));
          }
        };
        fill(halves.x, wide.x);
        fill(halves.weight, wide.weight);
        fill(halves.bias, wide.bias);
        fill(halves.gradient, wide.gradient);
        const auto forward = brain ? (centered ? kernels.layer_bfloat16 : kernels.rms_bfloat16)
                                   : (centered ? kernels.layer_float16 : kernels.rms_float16);
        const auto backward = brain ? (centered ? kernels.layer_backward_bfloat16 : kernels.rms_backward_bfloat16)
                                    : (centered ? kernels.layer_backward_float16 : kernels.rms_backward_float16);
        forward(halves.job(columns, true), 0, kRows);
        backward(halves.backward_job(columns, true), 0, kBlocks);
        (centered ? kernels.layer_float32 : kernels.rms_float32)(wide.job(columns, true), 0, kRows);
        (centered ? kernels.layer_backward_float32 : kernels.rms_backward_float32)(
            wide.backward_job(columns, true), 0, kBlocks);
        int64_t wrong = 0;
        for (int64_t i = 0; i < kRows * columns; ++i)
          wrong += (halves.y[i] != format->nearest(wide.y[i])) + (halves.of_x[i] != format->nearest(wide.of_x[i]));
        for (int64_t i = 0; i < halves.sums.size(); ++i) wrong += !same(halves.sums[i], wide.sums[i]);
        CHECK(wrong == 0);
        CHECK(halves.intact());
      }
  });
}

TEST_CASE("with a residual, norm and gradient are those of the sum, to which the gradient from elsewhere is added") {
  for_every_isa<NormKernels>([&](const std::string& isa, const NormKernels& kernels) {
    CAPTURE(isa);
    for (const int64_t columns : sizes())
      for (const bool centered : {false, true}) {
        if (columns == 0) continue;
        CAPTURE(columns);
        CAPTURE(centered);
        Case test(columns, centered, 0.5, static_cast<uint64_t>(columns));
        const auto addends = uniform(kRows * columns, 8), elsewhere = uniform(kRows * columns, 9);
        Arrays<float> fused(columns, Edge::AtEnd), plain(columns, Edge::AtEnd);
        Guarded<float> residual(kRows * columns, Edge::AtEnd), sum(kRows * columns, Edge::AtEnd);
        Guarded<float> of_sum(kRows * columns, Edge::AtEnd);
        for (Arrays<float>* arrays : {&fused, &plain}) {
          copy_into(arrays->x, test.x);
          copy_into(arrays->weight, test.weight);
          copy_into(arrays->bias, test.bias);
          copy_into(arrays->gradient, test.gradient);
        }
        copy_into(residual, addends);
        copy_into(of_sum, elsewhere);
        for (int64_t i = 0; i < kRows * columns; ++i) plain.x[i] += residual[i];

        const auto forward = centered ? kernels.layer_float32 : kernels.rms_float32;
        const auto backward = centered ? kernels.layer_backward_float32 : kernels.rms_backward_float32;
        NormJob job = fused.job(columns, true);
        job.residual = residual.data();
        job.sum = sum.data();
        forward(job, 2, kRows);
        forward(job, 0, 2);
        forward(plain.job(columns, true), 0, kRows);
        NormJob backward_job = fused.backward_job(columns, true);
        backward_job.x = sum.data();
        backward_job.of_sum = of_sum.data();
        backward(backward_job, 0, kBlocks);
        backward(plain.backward_job(columns, true), 0, kBlocks);
        int64_t wrong = 0;
        for (int64_t i = 0; i < kRows * columns; ++i)
          wrong += !same(sum[i], plain.x[i]) + !same(fused.y[i], plain.y[i]) +
                   !same(fused.of_x[i], plain.of_x[i] + of_sum[i]);
        for (int64_t i = 0; i < fused.sums.size(); ++i) wrong += !same(fused.sums[i], plain.sums[i]);
        CHECK(wrong == 0);
        CHECK(fused.intact());
        CHECK(sum.intact());
      }
  });
}

TEST_CASE("a NaN spoils its own row only, and a row of zeros is its bias") {
  const int64_t columns = 70;
  for_every_isa<NormKernels>([&](const std::string& isa, const NormKernels& kernels) {
    CAPTURE(isa);
    Case test(columns, true, 0, 9);
    Arrays<float> arrays(columns, Edge::AtEnd);
    copy_into(arrays.x, test.x);
    copy_into(arrays.weight, test.weight);
    copy_into(arrays.bias, test.bias);
    for (int64_t i = 0; i < columns; ++i) arrays.x[i] = 0.0f;
    arrays.x[2 * columns + 69] = std::numeric_limits<float>::quiet_NaN();
    kernels.layer_float32(arrays.job(columns, true), 0, kRows);
    for (int64_t row = 0; row < kRows; ++row) {
      int64_t nans = 0;
      for (int64_t i = 0; i < columns; ++i) nans += arrays.y[row * columns + i] != arrays.y[row * columns + i];
      CHECK(nans == (row == 2 ? columns : 0));
    }
    for (int64_t i = 0; i < columns; ++i) CHECK(arrays.y[i] == arrays.bias[i]);
  });
}
