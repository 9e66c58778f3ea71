// The source of the cross_entropy kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/cross_entropy/cross_entropy.h"
#include "vec/math.h"
#include "vec/rows.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

constexpr float kSmallest = -86.0f;

// kExpScale e^(x - largest).
MFUGAKU_INLINE F32 power_of(F32 x, float largest) {
  return scaled_exp(at_least(sub(x, broadcast(largest)), broadcast(kSmallest)));
}

// The target's place among this rank's columns, or -1.
MFUGAKU_INLINE int64_t place_of(const CrossEntropyJob& job, int64_t row) {
  const int64_t place = job.targets[row] - job.first_column;
  return place >= 0 && place < job.num_columns ? place : -1;
}

template <typename Format> void cross_entropy(const CrossEntropyJob& job, int64_t begin, int64_t end) {
  using Element = typename Format::Element;
  for (int64_t row = begin; row < end; ++row) {
    const auto* const x = static_cast<const Element*>(job.logits) + row * job.num_columns;
    const auto value = [=](int64_t i, auto count) { return load(Format{}, x + i, count); };
    const float largest = largest_of_row(job.num_columns, value);
    job.largest[row] = largest;
    job.sums[row] = kExpUnit * sum_of_map(job.num_columns, [=](int64_t i, auto count) {
      return power_of(load(Format{}, x + i, count), largest);
    });
    const int64_t place = place_of(job, row);
    const F32 at_target = place < 0 ? broadcast(0.0f) : load(Format{}, x + place, First{1});
    store(Float32{}, job.target_logits + row, at_target, First{1});
  }
}

template <typename Format> void cross_entropy_backward(const CrossEntropyJob& job, int64_t begin, int64_t end) {
  using Element = typename Format::Element;
  for (int64_t row = begin; row < end; ++row) {
    const auto* const x = static_cast<const Element*>(job.logits) + row * job.num_columns;
    auto* const out = static_cast<Element*>(job.out) + row * job.num_columns;
    const float largest = job.largest[row], factor = kExpUnit * job.factors[row];
    const auto gradient = [=](int64_t i, auto count) {
      return mul(power_of(load(Format{}, x + i, count), largest), broadcast(factor));
    };
    const int64_t place = place_of(job, row);
    // Before the logits are overwritten.
    const F32 of_target = place < 0 ? broadcast(0.0f) : sub(gradient(place, First{1}), broadcast(job.gradient[row]));
    map_row(Format{}, out, job.num_columns, gradient);
    if (place >= 0) store(Format{}, out + place, of_target, First{1});
  }
}

constexpr CrossEntropyKernels kCrossEntropy = {
    cross_entropy<Float32>,          cross_entropy<BFloat16>,          cross_entropy<Float16>,
    cross_entropy_backward<Float32>, cross_entropy_backward<BFloat16>, cross_entropy_backward<Float16>,
};

}  // namespace
}  // namespace mfugaku::kernels
