// Arithmetic of float16 in vectors of SVE, which every CPU with SVE has. See fp16.h.
#pragma once

#include "vec/sve.h"

namespace mfugaku::vec {
namespace {

using F16 = svfloat16_t;

MFUGAKU_INLINE int64_t lanes16() { return static_cast<int64_t>(svcnth()); }
MFUGAKU_INLINE F16 load16(const uint16_t* p) { return svreinterpret_f16_u16(svld1_u16(svptrue_b16(), p)); }
MFUGAKU_INLINE void store16(uint16_t* p, F16 v) { svst1_u16(svptrue_b16(), p, svreinterpret_u16_f16(v)); }
MFUGAKU_INLINE F16 broadcast16(const uint16_t* p) { return svreinterpret_f16_u16(svdup_n_u16(*p)); }
MFUGAKU_INLINE F16 add(F16 a, F16 b) { return svadd_f16_x(svptrue_b16(), a, b); }
MFUGAKU_INLINE F16 mul(F16 a, F16 b) { return svmul_f16_x(svptrue_b16(), a, b); }
#if defined(__clang__)
MFUGAKU_INLINE void accumulate(F16& sum, F16 a, F16 b) { sum = svmla_f16_x(svptrue_b16(), sum, a, b); }
MFUGAKU_INLINE F32 widen_even(F16 v) { return svcvt_f32_f16_x(svptrue_b32(), v); }
#else
// As accumulate of float32 in sve.h; volatile, since gcc 12 would mix the steps of a tile until its sums fit no more.
MFUGAKU_INLINE void accumulate(F16& sum, F16 a, F16 b) {
  asm volatile("fmla %0.h, %1/m, %2.h, %3.h" : "+w"(sum) : "Upl"(svptrue_b16()), "w"(a), "w"(b));
}
// In place: otherwise gcc 12 copies before it converts.
MFUGAKU_INLINE F32 widen_even(F16 v) {
  asm("fcvt %0.s, %1/m, %0.h" : "+w"(v) : "Upl"(svptrue_b32()));
  return svreinterpret_f32_f16(v);
}
#endif
MFUGAKU_INLINE void interleave(F16 a, F16 b, F16& low, F16& high) {
  low = svzip1_f16(a, b);
  high = svzip2_f16(a, b);
}

// Conversions take the even halves of a vector: the odd ones become even before.
MFUGAKU_INLINE void widen(F16 v, F32& a, F32& b) {
  const svuint32_t odd = svlsr_n_u32_x(svptrue_b32(), svreinterpret_u32_f16(v), 16);
  a = widen_even(v);
  b = widen_even(svreinterpret_f16_u32(odd));
}
MFUGAKU_INLINE F16 narrow(F32 a, F32 b) {
  return svtrn1_f16(svcvt_f16_f32_x(svptrue_b32(), a), svcvt_f16_f32_x(svptrue_b32(), b));
}
MFUGAKU_INLINE void put_in_order(F32& a, F32& b) {
  const F32 even = a, odd = b;
  interleave(even, odd, a, b);
}
MFUGAKU_INLINE void take_apart(F32& a, F32& b) {
  const F32 low = a, high = b;
  deinterleave(low, high, a, b);
}

}  // namespace
}  // namespace mfugaku::vec
