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
  return as_f32(add(as_u32(power), shift_left<23>(as_u32(shifted))));
}

// kExpScale e^x for -86 <= x <= 1, relative error below 1.5e-7 + 2e-9 |x|. Elsewhere the result is arbitrary, but nothing
// traps. For sums of powers and quotients of them: a scale at which r^6 has the factor 1, and one number for ln 2, which
// costs the 2e-9, spare three operations of exp.
constexpr float kExpScale = 724.984375f, kExpUnit = 0x1.6995f2p-10f;  // and its reciprocal
MFUGAKU_INLINE F32 scaled_exp(F32 x) {
  const F32 shifted = fma(x, broadcast(1.44269504f), broadcast(12582912.0f));
  const F32 r = fnma(sub(shifted, broadcast(12582912.0f)), broadcast(0.693147182f), x);
  F32 p = add(r, broadcast(0x1.844d14p+2f));
  p = fma(r, p, broadcast(0x1.e358fcp+4f));
  p = fma(r, p, broadcast(0x1.e35196p+6f));
  p = fma(r, p, broadcast(0x1.6a7dfcp+8f));
  p = fma(r, p, broadcast(kExpScale));
  p = fma(r, p, broadcast(kExpScale));
  return as_f32(add(as_u32(p), shift_left<23>(as_u32(shifted))));
}

// 1 / d for 1 <= d <= 2^125, relative error below 1.2e-7.
MFUGAKU_INLINE F32 reciprocal(F32 d) {
  const F32 one = broadcast(1.0f);
  // The bits of a float are nearly its logarithm: this is right to 5.1 %. Each step cubes the error.
  F32 r = as_f32(sub(broadcast(0x7ef31000u), as_u32(d)));
  F32 error = fnma(d, r, one);
  r = fma(r, fma(error, error, error), r);
  error = fnma(d, r, one);
  return fma(r, fma(error, error, error), r);
}

}  // namespace
}  // namespace mfugaku::vec
