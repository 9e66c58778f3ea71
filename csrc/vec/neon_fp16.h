// Arithmetic of float16 in vectors of NEON, for files compiled for CPUs that have it (FEAT_FP16). See fp16.h.
#pragma once

#include "vec/neon.h"

namespace mfugaku::vec {
namespace {

using F16 = float16x8_t;

MFUGAKU_INLINE int64_t lanes16() { return 8; }
MFUGAKU_INLINE F16 load16(const uint16_t* p) { return vreinterpretq_f16_u16(vld1q_u16(p)); }
MFUGAKU_INLINE void store16(uint16_t* p, F16 v) { vst1q_u16(p, vreinterpretq_u16_f16(v)); }
MFUGAKU_INLINE F16 broadcast16(const uint16_t* p) { return vreinterpretq_f16_u16(vld1q_dup_u16(p)); }
MFUGAKU_INLINE F16 add(F16 a, F16 b) { return vaddq_f16(a, b); }
MFUGAKU_INLINE F16 mul(F16 a, F16 b) { return vmulq_f16(a, b); }
MFUGAKU_INLINE void accumulate(F16& sum, F16 a, F16 b) { sum = vfmaq_f16(sum, a, b); }
MFUGAKU_INLINE void interleave(F16 a, F16 b, F16& low, F16& high) {
  low = vzip1q_f16(a, b);
  high = vzip2q_f16(a, b);
}

MFUGAKU_INLINE void widen(F16 v, F32& a, F32& b) {
  a = vcvt_f32_f16(vget_low_f16(v));
  b = vcvt_high_f32_f16(v);
}
MFUGAKU_INLINE F16 narrow(F32 a, F32 b) { return vcvt_high_f16_f32(vcvt_f16_f32(a), b); }
MFUGAKU_INLINE void put_in_order(F32&, F32&) {}
MFUGAKU_INLINE void take_apart(F32&, F32&) {}

}  // namespace
}  // namespace mfugaku::vec
