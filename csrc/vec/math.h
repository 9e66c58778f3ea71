// Functions over the names of vec.h, the same bits for every instruction set: only additions, multiplications, fused
// multiply-adds and integer operations. No division, which A64FX cannot pipeline, and no estimate instructions, which
// differ among CPUs. Include behind the header of an instruction set.
#pragma once

namespace mfugaku::vec {
namespace {

// e^x for -80 <= x <= 80, relative error below 1.5e-7. Elsewhere the result is arbitrary, but nothing traps.
MFUGAKU_INLINE F32 exp(F32 x) {
  const F32 to_integer = broadcast(12582912.0f);  // 1.5 * 2^23: the sum's low bits are the rounded integer
  const F32 shifted = fma(x, broadcast(1.44269504f), to_integer);
  const F32 n = sub(shifted, to_integer);
  // ln 2 in two parts, the first short enough that its product with n is exact.
  const F32 r = fnma(n, broadcast(1.42860677e-6f), fnma(n, broadcast(0.693145752f), x));
  // e^r = 1 + r + r^2 q(r) on |r| <= ln(2)/2; q minimises the largest relative error of e^r (3.1e-9).
  F32 q = fma(r, broadcast(0x1.6a23dp-10f), broadcast(0x1.123a2p-7f));
  q = fma(r, q, broadcast(0x1.5558f2p-5f));
  q = fma(r, q, broadcast(0x1.555492p-3f));
  q = fma(r, q, broadcast(0x1.fffffcp-2f));
  const F32 power = add(broadcast(1.0f), fma(mul(r, r), q, r));
  return as_f32(add_shifted<23>(as_u32(power), as_u32(shifted)));
}

// kExpScale e^x for -86 <= x <= 1, relative error below 1.5e-7 + 2e-9 |x|. Elsewhere the result is arbitrary, but nothing
// traps. For sums of powers and quotients of them: a scale at which r^6 has the factor 1, and one number for ln 2, which
// costs the 2e-9, spare three operations of exp.
constexpr float kExpScale = 724.984375f, kExpUnit = 0x1.6995f2p-10f;  // and its reciprocal
MFUGAKU_INLINE F32 scaled_exp(F32 x) {
  const F32 shifted = fma(x, broadcast(1.44269504f), broadcast(12582912.0f));
  const F32 r = fnma_over(sub(shifted, broadcast(12582912.0f)), broadcast(0.693147182f), x);
  F32 p = add(r, broadcast(0x1.844d14p+2f));
  p = fma_over(p, r, broadcast(0x1.e358fcp+4f));
  p = fma_over(p, r, broadcast(0x1.e35196p+6f));
  p = fma_over(p, r, broadcast(0x1.6a7dfcp+8f));
  p = fma_over(p, r, broadcast(kExpScale));
  p = fma_over(p, r, broadcast(kExpScale));
  return as_f32(add_shifted<23>(as_u32(p), as_u32(shifted)));
}

// e^x over the same range at another scale, at which r^5 has the factor 1: one operation less, and an error below
// 2e-7 + 2e-9 |x|. For quotients of powers.
MFUGAKU_INLINE F32 scaled_exp_for_quotients(F32 x) {
  const F32 shifted = fma(x, broadcast(1.44269504f), broadcast(12582912.0f));
  const F32 r = fnma_over(sub(shifted, broadcast(12582912.0f)), broadcast(0.693147182f), x);
  F32 p = add(r, broadcast(0x1.434c94p+2f));
  p = fma(p, r, broadcast(0x1.416578p+4f));
  p = fma(p, r, broadcast(0x1.e20ebcp+5f));
  p = fma(p, r, broadcast(0x1.e2116ep+6f));
  p = fma(p, r, broadcast(0x1.e2117ap+6f));
  return as_f32(add_shifted<23>(as_u32(p), as_u32(shifted)));
}

// kExp2Scale 2^x for -126 <= x <= 116, relative error below 2.3e-7. Elsewhere the result is arbitrary, but nothing traps. At
// that scale x^5 has the factor 1, which spares an operation, and the scale times what `reciprocal` makes of it is 1.
constexpr float kExp2Scale = 0x1.789a8p+9f, kExp2Unit = 0x1.5c098p-10f;  // and its reciprocal
MFUGAKU_INLINE F32 scaled_exp2(F32 x) {
  const F32 shifted = add(x, broadcast(12582912.0f));
  const F32 f = sub(x, sub(shifted, broadcast(12582912.0f)));  // exact
  F32 p = add(f, broadcast(0x1.d2696ep+2f));
  p = fma_over(p, f, broadcast(0x1.4e7786p+5f));
  p = fma_over(p, f, broadcast(0x1.69df62p+7f));
  p = fma_over(p, f, broadcast(0x1.050aa4p+9f));
  p = fma_over(p, f, broadcast(kExp2Scale));
  return as_f32(add_shifted<23>(as_u32(p), as_u32(shifted)));
}

// 1 / d for 2^-125 <= d <= 2^125 to 1.4e-4: the bits of a float are nearly its logarithm, which is right to 5.1 %, and one
// step cubes the error.
MFUGAKU_INLINE F32 rough_reciprocal(F32 d) {
  const F32 r = as_f32(sub(broadcast(0x7ef31000u), as_u32(d)));
  const F32 product = mul(d, r), three = broadcast(3.0f);
  return mul(r, fnma(sub(three, product), product, three));
}

// 1 / d for 2^-125 <= d <= 2^125, relative error below 1.3e-7.
MFUGAKU_INLINE F32 reciprocal(F32 d) {
  const F32 r = rough_reciprocal(d);
  return fma(r, sub(broadcast(1.0f), mul(d, r)), r);
}

// The same to 1.4e-7, in two operations less.
MFUGAKU_INLINE F32 short_reciprocal(F32 d) { return refine(as_f32(sub(broadcast(0x7ef31000u), as_u32(d))), d); }

// n / d for 2^-125 <= d <= 2^125, relative error below 1e-7. A NaN stays a NaN, and an infinite n becomes one.
MFUGAKU_INLINE F32 divide(F32 n, F32 d) {
  const F32 r = rough_reciprocal(d), quotient = mul(n, r);
  return fma(r, fnma(d, quotient, n), quotient);
}

// The root of x / 2 for 0 <= x < 2^128, relative error below 1e-7; an x below 2^-126 gives a number between 0 and the root.
// A NaN stays a NaN, and inf becomes one.
MFUGAKU_INLINE F32 half_root(F32 x) {
  // y is nearly 1 / sqrt(2 x): half the bits of a float, taken from a constant, are right to 5 %, and a polynomial in
  // 0.5 - x y^2 of the least largest error makes them right to 2.2e-5. x y is then improved by one step of Newton's.
  F32 y = as_f32(sub(broadcast(0x5ef359dfu), shift_right<1>(as_u32(x))));
  const F32 error = fnma(mul(x, y), y, broadcast(0x1.fffaccp-2f));
  y = fma(mul(y, error), fma(error, broadcast(0x1.a6c498p+0f), broadcast(0x1.ff98e8p-1f)), y);
  const F32 root = mul(x, y);
  return fma(root, fnma(root, y, broadcast(0.5f)), root);
}

}  // namespace
}  // namespace mfugaku::vec
