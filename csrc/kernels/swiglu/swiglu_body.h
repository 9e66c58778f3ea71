// The source of the swiglu kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/swiglu/swiglu.h"
#include "vec/math.h"
#include "vec/rows.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

constexpr float kLargestGate = 80.0f;  // beyond it the logistic function is 0 or 1 to float32

// kExp2Scale e^-a of an a of at least -kLargestGate.
MFUGAKU_INLINE F32 scaled_power(F32 a) {
  constexpr float kLog2E = 0x1.715476p+0f;
  return scaled_exp2(at_least(mul(a, broadcast(-kLog2E)), broadcast(-kLog2E * kLargestGate)));
}

template <typename Format> void swiglu(const SwigluJob& job, int64_t begin, int64_t end) {
  using Element = typename Format::Element;
  const int64_t length = job.num_columns;
  for (int64_t row = begin; row < end; ++row) {
    const auto* const gate = static_cast<const Element*>(job.x) + 2 * row * length;
    const auto* const factor = gate + length;
    map_row(Format{}, static_cast<Element*>(job.out) + row * length, length, [=](int64_t i, auto count) {
      const F32 a = at_least(load(Format{}, gate + i, count), broadcast(-kLargestGate));
      const F32 s = short_reciprocal(fma(scaled_power(a), broadcast(kExp2Unit), broadcast(1.0f)));
      return mul(mul(a, s), load(Format{}, factor + i, count));
    });
  }
}

template <typename Format> void swiglu_backward(const SwigluJob& job, int64_t begin, int64_t end) {
  using Element = typename Format::Element;
  const int64_t length = job.num_columns;
  for (int64_t row = begin; row < end; ++row) {
    const auto* const gate = static_cast<const Element*>(job.x) + 2 * row * length;
    const auto* const factor = gate + length;
    const auto* const gradient = static_cast<const Element*>(job.gradient) + row * length;
    auto* const out = static_cast<Element*>(job.out) + 2 * row * length;
    map_two_rows(Format{}, out, out + length, length, [=](int64_t i, auto count, F32& of_gate, F32& of_factor) {
      const F32 a = at_least(load(Format{}, gate + i, count), broadcast(-kLargestGate));
      const F32 scaled = scaled_power(a), power = mul(scaled, broadcast(kExp2Unit));
      const F32 s = short_reciprocal(fma(scaled, broadcast(kExp2Unit), broadcast(1.0f)));
      const F32 g = load(Format{}, gradient + i, count);
      // Where 1 - s underflows, an infinite gate must not meet it.
      const F32 bounded = at_most(a, broadcast(kLargestGate));
      const F32 slope = fma(mul(bounded, mul(power, s)), s, s);
      of_gate = mul(mul(g, load(Format{}, factor + i, count)), slope);
      of_factor = mul(g, mul(a, s));
    });
  }
}

constexpr SwigluKernels kSwiglu = {
    swiglu<Float32>,          swiglu<BFloat16>,          swiglu<Float16>,
    swiglu_backward<Float32>, swiglu_backward<BFloat16>, swiglu_backward<Float16>,
};

}  // namespace
}  // namespace mfugaku::kernels
