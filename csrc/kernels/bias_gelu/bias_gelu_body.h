// The source of the bias_gelu kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/bias_gelu/bias_gelu.h"
#include "vec/math.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

// 1 / (1 + 2^w) from kExp2Scale 2^w.
MFUGAKU_INLINE F32 logistic(F32 power) { return short_reciprocal(fma(power, broadcast(kExp2Unit), broadcast(1.0f))); }

// Both forms are v s with s = 1 / (1 + 2^w(v)) for an odd w: of the tanh form it is v (a + b v^2), and of the exact one a
// polynomial that makes s the normal distribution to 2.3e-8 / |v|. Beyond kLargest the result no longer depends on what is
// clamped, and nothing overflows.
constexpr float kLeastExponent = -100.0f;
struct Tanh {
  static constexpr float kLargest = 9.5f;
  static MFUGAKU_INLINE F32 exponent(F32 v, F32 square) {
    return mul(v, fma_over(square, broadcast(-0x1.a5a7dp-4f), broadcast(-0x1.26aec2p+1f)));
  }
  // s + v ds/dv = s (1 + (1 - s) v (c + d v^2)), where 1 - s = power / (scale + power) has its digits when s is nearly 1.
  static MFUGAKU_INLINE F32 slope(F32 v, F32 square, F32 power) {
    constexpr float kConstant = 0x1.988454p+0f * kExp2Scale, kSquare = 0x1.b6676cp-3f * kExp2Scale;
    const F32 r = short_reciprocal(add(power, broadcast(kExp2Scale)));
    const F32 inner = mul(v, fma(square, broadcast(kSquare), broadcast(kConstant)));
    return mul(r, fma(mul(power, r), inner, broadcast(kExp2Scale)));
  }
};

struct Exact {
  static constexpr float kLargest = 6.0f;
  static MFUGAKU_INLINE F32 exponent(F32 v, F32 square) {
    F32 w = fma(square, broadcast(-5.318671179627175e-09f), broadcast(3.9134357294322587e-07f));
    w = fma_over(w, square, broadcast(-1.1575272953859346e-05f));
    w = fma_over(w, square, broadcast(0.00016043356042755265f));
    w = fma_over(w, square, broadcast(9.156358502719533e-05f));
    w = fma_over(w, square, broadcast(-0.1048321018593182f));
    return mul(v, fma_over(w, square, broadcast(-2.3022103878820195f)));
  }
  // s + v times the density, e^(-v^2 / 2) / sqrt(2 pi).
  static MFUGAKU_INLINE F32 slope(F32 v, F32 square, F32 power) {
    constexpr float kDensity = 0x1.988454p-2f * kExp2Unit, kMinusHalfInBits = -0x1.715476p-1f;
    return fma(mul(v, broadcast(kDensity)), scaled_exp2(mul(square, broadcast(kMinusHalfInBits))), logistic(power));
  }
};

template <typename Form> MFUGAKU_INLINE F32 gelu(F32 v) {
  v = at_least(v, broadcast(-Form::kLargest));
  // Above, where s is 1, the exponent is clamped: v is multiplied with, and stays what it is.
  const F32 w = at_least(Form::exponent(v, mul(v, v)), broadcast(kLeastExponent));
  return mul(v, logistic(scaled_exp2(w)));
}

template <typename Form> MFUGAKU_INLINE F32 gelu_slope(F32 v) {
  v = at_most(at_least(v, broadcast(-Form::kLargest)), broadcast(Form::kLargest));
  const F32 square = mul(v, v);
  return Form::slope(v, square, scaled_exp2(Form::exponent(v, square)));
}

// `length` consecutive elements of one row.
template <typename Format, typename Form, bool has_bias, bool backward> struct Piece {
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
    if (backward) return mul(load(Format{}, gradient + i, count), gelu_slope<Form>(v));
    return gelu<Form>(v);
  }
  void run(int64_t length) const {
    const int64_t width = lanes();
    // Four vectors at once hide the latency of the long chain of one.
    const auto run_four = [&](int64_t i) __attribute__((always_inline, nothrow)) {
      const F32 a = result(biased(i, All{}), i, All{});
      const F32 b = result(biased(i + width, All{}), i + width, All{});
      const F32 c = result(biased(i + 2 * width, All{}), i + 2 * width, All{});
      const F32 d = result(biased(i + 3 * width, All{}), i + 3 * width, All{});
      store(Format{}, out + i, a, All{});
      store(Format{}, out + i + width, b, All{});
      store(Format{}, out + i + 2 * width, c, All{});
      store(Format{}, out + i + 3 * width, d, All{});
    };
    int64_t i = 0;
    for (int64_t left = length / (8 * width); left > 0; --left, i += 8 * width) {
      run_four(i);
      run_four(i + 4 * width);
    }
    if (i + 4 * width <= length) {
      run_four(i);
      i += 4 * width;
    }
    for (; i + width <= length; i += width) store(Format{}, out + i, result(biased(i, All{}), i, All{}), All{});
    if (i < length) {
      const First rest{length - i};
      store(Format{}, out + i, result(biased(i, rest), i, rest), rest);
    }
  }
};

template <typename Format, typename Form, bool has_bias, bool backward>
void run_pieces(const BiasGeluJob& job, int64_t begin, int64_t end) {
  using Element = typename Format::Element;
  int64_t column = has_bias ? begin % job.num_columns : 0;
  while (begin < end) {
    const int64_t row_left = has_bias ? job.num_columns - column : end - begin;
    const int64_t length = row_left < end - begin ? row_left : end - begin;
    const Piece<Format, Form, has_bias, backward> piece = {
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

template <typename Format, typename Form, bool backward>
void bias_gelu(const BiasGeluJob& job, int64_t begin, int64_t end) {
  if (job.bias != nullptr)
    run_pieces<Format, Form, true, backward>(job, begin, end);
  else
    run_pieces<Format, Form, false, backward>(job, begin, end);
}

constexpr BiasGeluKernels kBiasGelu = {
    bias_gelu<Float32, Tanh, false>,  bias_gelu<BFloat16, Tanh, false>,  bias_gelu<Float16, Tanh, false>,
    bias_gelu<Float32, Tanh, true>,   bias_gelu<BFloat16, Tanh, true>,   bias_gelu<Float16, Tanh, true>,
    bias_gelu<Float32, Exact, false>, bias_gelu<BFloat16, Exact, false>, bias_gelu<Float16, Exact, false>,
    bias_gelu<Float32, Exact, true>,  bias_gelu<BFloat16, Exact, true>,  bias_gelu<Float16, Exact, true>,
};

}  // namespace
}  // namespace mfugaku::kernels
