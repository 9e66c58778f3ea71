// The source of the norm kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/norm/norm.h"
#include "vec/rows.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

constexpr int64_t kSample = 128;

// The mean of value(i, count) over a row, and the mean square of its differences from that, in one pass: differences from
// the mean of the first elements are summed with their squares. That mean is never further from the mean of all, squared,
// than length / kSample variances, so that the subtraction costs few digits.
template <typename Value>
MFUGAKU_INLINE void find_statistics(int64_t length, const Value& value, float& mean, float& variance) {
  const int64_t sample = length < kSample ? length : kSample;
  const float near = sum_row(sample, [=](F32& sum, int64_t i, auto count) { sum = add(sum, value(i, count)); }) /
                     static_cast<float>(sample);
  float sum, squares;
  sum_row_twice(length, [=](F32& differences, F32& their_squares, int64_t i, auto count) {
    const F32 v = cut(sub(value(i, count), broadcast(near)), count);
    differences = add(differences, v);
    accumulate(their_squares, v, v);
  }, sum, squares);
  const float offset = sum / static_cast<float>(length);
  mean = near + offset;
  variance = squares / static_cast<float>(length) - offset * offset;
  if (variance < 0) variance = 0;
}

// The elements of a row, which with a residual are added up here: they are still in the cache when they are read again.
template <typename Format> MFUGAKU_INLINE const typename Format::Element* row_of(const NormJob& job, int64_t row) {
  using Element = typename Format::Element;
  const int64_t length = job.num_columns;
  const auto* const x = static_cast<const Element*>(job.x) + row * length;
  if (job.residual == nullptr) return x;
  const auto* const residual = static_cast<const Element*>(job.residual) + row * length;
  auto* const sum = static_cast<Element*>(job.sum) + row * length;
  map_row_shortly(Format{}, sum, length, [=](int64_t i, auto count) {
    return add(load(Format{}, x + i, count), load(Format{}, residual + i, count));
  });
  return sum;
}

template <typename Format, bool centered, bool has_bias>
void normalize(const NormJob& job, int64_t begin, int64_t end) {
  using Element = typename Format::Element;
  const int64_t length = job.num_columns;
  const auto* const weight = static_cast<const Element*>(job.weight);
  const auto* const bias = static_cast<const Element*>(job.bias);
  const float eps = job.eps;
  for (int64_t row = begin; row < end; ++row) {
    const auto* const x = row_of<Format>(job, row);
    auto* const out = static_cast<Element*>(job.out) + row * length;
    const auto value = [=](int64_t i, auto count) { return load(Format{}, x + i, count); };
    float mean = 0, variance;
    if (centered)
      find_statistics(length, value, mean, variance);
    else
      variance = sum_row(length, [=](F32& sum, int64_t i, auto count) {
        const F32 v = value(i, count);
        accumulate(sum, v, v);
      }) / static_cast<float>(length);
    if (centered) job.means[row] = mean;
    const float rstd = 1.0f / __builtin_sqrtf(variance + eps);
    job.rstds[row] = rstd;
    map_row_shortly(Format{}, out, length, [=](int64_t i, auto count) {
      F32 v = value(i, count);
      if (centered) v = sub(v, broadcast(mean));
      v = mul(v, broadcast(rstd));
      const F32 factor = load(Format{}, weight + i, count);
      return has_bias ? fma(v, factor, load(Format{}, bias + i, count)) : mul(v, factor);
    });
  }
}

template <typename Format, bool centered> void norm(const NormJob& job, int64_t begin, int64_t end) {
  if (job.bias != nullptr)
    normalize<Format, centered, true>(job, begin, end);
  else
    normalize<Format, centered, false>(job, begin, end);
}

// With v = x - mean, g the gradient of y and w the weight, over the n columns of a row:
//
//   of x: rstd * (g w - sum(g w) / n - v rstd^2 sum(g w v) / n)     root mean square: without the sum in the middle
//   of the weight: g v rstd, of the bias: g, summed over rows
template <typename Format, bool centered, bool wants_bias>
MFUGAKU_INLINE void backward_row(const NormJob& job, int64_t row, float* of_weight, float* of_bias) {
  using Element = typename Format::Element;
  const int64_t length = job.num_columns;
  const auto* const weight = static_cast<const Element*>(job.weight);
  const auto* const x = static_cast<const Element*>(job.x) + row * length;
  const auto* const gradient = static_cast<const Element*>(job.gradient) + row * length;
  const auto* const of_sum = job.of_sum == nullptr ? nullptr : static_cast<const Element*>(job.of_sum) + row * length;
  auto* const out = static_cast<Element*>(job.out) + row * length;
  const float mean = centered ? job.means[row] : 0.0f, rstd = job.rstds[row];
  float sum = 0, product;
  const auto add_products = [=](F32& plain, F32& with_x, int64_t i, auto count) {
    // Of the lanes left out the gradient is zero.
    const F32 g = mul(load(Format{}, gradient + i, count), load(Format{}, weight + i, count));
    F32 v = load(Format{}, x + i, count);
    if (centered) {
      v = sub(v, broadcast(mean));
      plain = add(plain, g);
    }
    accumulate(with_x, g, v);
  };
  if (centered)
    sum_row_twice(length, add_products, sum, product);
  else
    product = sum_row(length, [=](F32& with_x, int64_t i, auto count) {
      F32 none = broadcast(0.0f);
      add_products(none, with_x, i, count);
    });
  const auto n = static_cast<float>(length);
  const float slope = -rstd * (rstd * rstd * (product / n)), offset = -rstd * (sum / n);
  const auto find_gradient = [=](int64_t i, auto count) __attribute__((always_inline, nothrow)) {
    const F32 g = load(Format{}, gradient + i, count);
    F32 v = load(Format{}, x + i, count);
    if (centered) v = sub(v, broadcast(mean));
    const F32 rest = centered ? fma(v, broadcast(slope), broadcast(offset)) : mul(v, broadcast(slope));
    store(Float32{}, of_weight + i, fma(g, mul(v, broadcast(rstd)), load(Float32{}, of_weight + i, count)), count);
    if (wants_bias) store(Float32{}, of_bias + i, add(load(Float32{}, of_bias + i, count), g), count);
    return fma(mul(g, load(Format{}, weight + i, count)), broadcast(rstd), rest);
  };
  if (of_sum == nullptr) return map_row(Format{}, out, length, find_gradient);
  map_row(Format{}, out, length, [=](int64_t i, auto count) {
    return add(find_gradient(i, count), load(Format{}, of_sum + i, count));
  });
}

template <typename Format, bool centered, bool wants_bias>
void backward_blocks(const NormJob& job, int64_t begin, int64_t end) {
  const int64_t num_sums = (wants_bias ? 2 : 1) * job.num_columns;
  for (int64_t block = begin; block < end; ++block) {
    float* const sums = job.sums + block * num_sums;
    map_row(Float32{}, sums, num_sums, [=](int64_t, auto) { return broadcast(0.0f); });
    const int64_t last = (block + 1) * job.num_rows / job.num_blocks;
    for (int64_t row = block * job.num_rows / job.num_blocks; row < last; ++row)
      backward_row<Format, centered, wants_bias>(job, row, sums, sums + job.num_columns);
  }
}

template <typename Format, bool centered> void norm_backward(const NormJob& job, int64_t begin, int64_t end) {
  if (job.wants_bias)
    backward_blocks<Format, centered, true>(job, begin, end);
  else
    backward_blocks<Format, centered, false>(job, begin, end);
}

constexpr NormKernels kNorm = {
    norm<Float32, true>,           norm<BFloat16, true>,           norm<Float16, true>,
    norm_backward<Float32, true>,  norm_backward<BFloat16, true>,  norm_backward<Float16, true>,
    norm<Float32, false>,          norm<BFloat16, false>,          norm<Float16, false>,
    norm_backward<Float32, false>, norm_backward<BFloat16, false>, norm_backward<Float16, false>,
};

}  // namespace
}  // namespace mfugaku::kernels
