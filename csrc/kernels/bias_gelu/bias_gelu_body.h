// The source of the bias_gelu kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/bias_gelu/bias_gelu.h"
#include "vec/math.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

constexpr float kTwoRoot = 1.5957691216057308f;           // 2 sqrt(2 / pi)
constexpr float kCubic = 0.044715f * 1.5957691216057308f;  // of v^3 in 2 u
// Beyond these the result no longer depends on what is clamped, and nothing overflows.
constexpr float kLargest = 30.0f;
constexpr float kLargestExponent = 80.0f;

// e^(-2 u) of a v of at least -kLargest.
MFUGAKU_INLINE F32 exp_minus_2u(F32 v) {
  const F32 slope = fma(mul(v, v), broadcast(-kCubic), broadcast(-kTwoRoot));
  return exp(at_most(at_least(mul(slope, v), broadcast(-kLargestExponent)), broadcast(kLargestExponent)));
}

MFUGAKU_INLINE F32 gelu(F32 v) {
  v = at_least(v, broadcast(-kLargest));
  return mul(v, reciprocal(add(broadcast(1.0f), exp_minus_2u(v))));
}

// d gelu / d v = s + v s (1 - s) d(2 u)/dv. As e s, 1 - s keeps its digits where s is nearly 1.
MFUGAKU_INLINE F32 gelu_slope(F32 v) {
  v = at_most(at_least(v, broadcast(-kLargest)), broadcast(kLargest));
  const F32 e = exp_minus_2u(v);
  const F32 s = reciprocal(add(broadcast(1.0f), e));
  const F32 inner = mul(v, fma(mul(v, v), broadcast(3 * kCubic), broadcast(kTwoRoot)));
  return fma(mul(mul(e, s), s), inner, s);
}

// `length` consecutive elements of one row.
template <typename Format, bool has_bias, bool backward> struct Piece {
  using Element = typename Format::Element;
  const Element* x;
  const Element* bias;
  const Element* gradient;
  Element* out;

  template <typename Count> MFUGAKU_INLINE F32 biased(int64_t i, Count count) const {
    F32 v = load(Format{}, x + i, count);
    if (has_bias) v = add(v, load(Format{}, bias + i, count));
    return v;
  }
  template <typename Count> MFUGAKU_INLINE F32 result(F32 v, int64_t i, Count count) const {
    if (backward) return mul(load(Format{}, gradient + i, count), gelu_slope(v));
    return gelu(v);
  }
  void run(int64_t length) const {
    const int64_t width = lanes();
    int64_t i = 0;
    // Four vectors at once hide the latency of the long chain of one.
    for (; i + 4 * width <= length; i += 4 * width) {
      const F32 a = result(biased(i, All{}), i, All{});
      const F32 b = result(biased(i + width, All{}), i + width, All{});
      const F32 c = result(biased(i + 2 * width, All{}), i + 2 * width, All{});
      const F32 d = result(biased(i + 3 * width, All{}), i + 3 * width, All{});
      store(Format{}, out + i, a, All{});
      store(Format{}, out + i + width, b, All{});
      store(Format{}, out + i + 2 * width, c, All{});
      store(Format{}, out + i + 3 * width, d, All{});
    }
    for (; i + width <= length; i += width) store(Format{}, out + i, result(biased(i, All{}), i, All{}), All{});
    if (i < length) {
      const First rest{length - i};
      store(Format{}, out + i, result(biased(i, rest), i, rest), rest);
    }
  }
};

template <typename Format, bool has_bias, bool backward>
void run_pieces(const BiasGeluJob& job, int64_t begin, int64_t end) {
  using Element = typename Format::Element;
  int64_t column = has_bias ? begin % job.num_columns : 0;
  while (begin < end) {
    const int64_t row_left = has_bias ? job.num_columns - column : end - begin;
    const int64_t length = row_left < end - begin ? row_left : end - begin;
    const Piece<Format, has_bias, backward> piece = {
        static_cast<const Element*>(job.x) + begin,
        has_bias ? static_cast<const Element*>(job.bias) + column : nullptr,
        backward ? static_cast<const Element*>(job.gradient) + begin : nullptr,
        static_cast<Element*>(job.out) + begin,
    };
    piece.run(length);
    begin += length;
    column = 0;
  }
}

template <typename Format, bool backward> void bias_gelu(const BiasGeluJob& job, int64_t begin, int64_t end) {
  if (job.bias != nullptr)
    run_pieces<Format, true, backward>(job, begin, end);
  else
    run_pieces<Format, false, backward>(job, begin, end);
}

constexpr BiasGeluKernels kBiasGelu = {
    bias_gelu<Float32, false>, bias_gelu<BFloat16, false>, bias_gelu<Float16, false>,
    bias_gelu<Float32, true>,  bias_gelu<BFloat16, true>,  bias_gelu<Float16, true>,
};

}  // namespace
}  // namespace mfugaku::kernels
