// Four lanes of NEON, which every aarch64 machine has. See vec.h.
#pragma once

#include <arm_neon.h>

#include "vec/vec.h"

namespace mfugaku::vec {
namespace {

using F32 = float32x4_t;
using F64 = float64x2_t;
using U32 = uint32x4_t;
using Mask = uint32x4_t;

constexpr bool kFixedLanes = true;
MFUGAKU_INLINE int64_t lanes() { return 4; }
MFUGAKU_INLINE int64_t lanes64() { return 2; }

// NEON has no masked moves: the end of an array goes through a buffer.
template <typename Element, int size> struct Buffer {
  alignas(16) Element elements[size] = {};
  MFUGAKU_INLINE void read(const Element* p, int64_t n) {
    for (int64_t i = 0; i < n; ++i) elements[i] = p[i];
  }
  MFUGAKU_INLINE void write(Element* p, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) p[i] = elements[i];
  }
};

MFUGAKU_INLINE uint16x4_t load_halves(const uint16_t* p, All) { return vld1_u16(p); }
MFUGAKU_INLINE uint16x4_t load_halves(const uint16_t* p, First count) {
  Buffer<uint16_t, 4> buffer;
  buffer.read(p, count.n);
  return vld1_u16(buffer.elements);
}
MFUGAKU_INLINE void store_halves(uint16_t* p, uint16x4_t v, All) { vst1_u16(p, v); }
MFUGAKU_INLINE void store_halves(uint16_t* p, uint16x4_t v, First count) {
  Buffer<uint16_t, 4> buffer;
  vst1_u16(buffer.elements, v);
  buffer.write(p, count.n);
}

MFUGAKU_INLINE F32 load(Float32, const float* p, All) { return vld1q_f32(p); }
MFUGAKU_INLINE F32 load(Float32, const float* p, First count) {
  Buffer<float, 4> buffer;
  buffer.read(p, count.n);
  return vld1q_f32(buffer.elements);
}
MFUGAKU_INLINE F64 load(Float64, const double* p, All) { return vld1q_f64(p); }
MFUGAKU_INLINE F64 load(Float64, const double* p, First count) {
  Buffer<double, 2> buffer;
  buffer.read(p, count.n);
  return vld1q_f64(buffer.elements);
}
template <typename Count> MFUGAKU_INLINE F32 load(BFloat16, const uint16_t* p, Count count) {
  return vreinterpretq_f32_u32(vshll_n_u16(load_halves(p, count), 16));
}
template <typename Count> MFUGAKU_INLINE F32 load(Float16, const uint16_t* p, Count count) {
  return vcvt_f32_f16(vreinterpret_f16_u16(load_halves(p, count)));
}

MFUGAKU_INLINE void store(Float32, float* p, F32 v, All) { vst1q_f32(p, v); }
MFUGAKU_INLINE void store_apart(float* low, float* high, F32 v) {
  vst1_f32(low, vget_low_f32(v));
  vst1_f32(high, vget_high_f32(v));
}
MFUGAKU_INLINE void store(Float32, float* p, F32 v, First count) {
  Buffer<float, 4> buffer;
  vst1q_f32(buffer.elements, v);
  buffer.write(p, count.n);
}
MFUGAKU_INLINE void store(Float64, double* p, F64 v, All) { vst1q_f64(p, v); }
MFUGAKU_INLINE void store(Float64, double* p, F64 v, First count) {
  Buffer<double, 2> buffer;
  vst1q_f64(buffer.elements, v);
  buffer.write(p, count.n);
}
template <typename Count> MFUGAKU_INLINE void store(BFloat16, uint16_t* p, F32 v, Count count) {
  const uint32x4_t bits = vreinterpretq_u32_f32(v);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t chosen = vbslq_u32(vceqq_f32(v, v), rounded, vdupq_n_u32(0x7fc00000));
  store_halves(p, vshrn_n_u32(chosen, 16), count);
}
template <typename Count> MFUGAKU_INLINE void store(Float16, uint16_t* p, F32 v, Count count) {
  store_halves(p, vreinterpret_u16_f16(vcvt_f16_f32(v)), count);
}

MFUGAKU_INLINE F32 broadcast(float value) { return vdupq_n_f32(value); }
MFUGAKU_INLINE F64 broadcast(double value) { return vdupq_n_f64(value); }
MFUGAKU_INLINE U32 broadcast(uint32_t value) { return vdupq_n_u32(value); }
MFUGAKU_INLINE F32 add(F32 a, F32 b) { return vaddq_f32(a, b); }
MFUGAKU_INLINE F64 add(F64 a, F64 b) { return vaddq_f64(a, b); }
MFUGAKU_INLINE U32 add(U32 a, U32 b) { return vaddq_u32(a, b); }
MFUGAKU_INLINE F32 sub(F32 a, F32 b) { return vsubq_f32(a, b); }
MFUGAKU_INLINE U32 sub(U32 a, U32 b) { return vsubq_u32(a, b); }
MFUGAKU_INLINE F32 mul(F32 a, F32 b) { return vmulq_f32(a, b); }
MFUGAKU_INLINE F64 mul(F64 a, F64 b) { return vmulq_f64(a, b); }
MFUGAKU_INLINE F32 fma(F32 a, F32 b, F32 c) { return vfmaq_f32(c, a, b); }
MFUGAKU_INLINE F32 fnma(F32 a, F32 b, F32 c) { return vfmsq_f32(c, a, b); }
MFUGAKU_INLINE void accumulate(F32& sum, F32 a, F32 b) { sum = fma(a, b, sum); }
MFUGAKU_INLINE F32 fma_over(F32 a, F32 b, F32 c) { return fma(a, b, c); }
MFUGAKU_INLINE F32 fnma_over(F32 a, F32 b, F32 c) { return fnma(a, b, c); }
MFUGAKU_INLINE F32 refine(F32 r, F32 d) {
  const F32 e = fnma(d, r, broadcast(1.0f)), square = mul(e, e), better = fma(r, e, r);
  return fma(better, fma(square, square, square), better);
}
MFUGAKU_INLINE F32 at_least(F32 v, F32 bound) { return vmaxq_f32(v, bound); }
MFUGAKU_INLINE F32 at_most(F32 v, F32 bound) { return vminq_f32(v, bound); }
MFUGAKU_INLINE float largest(F32 v) { return vmaxvq_f32(v); }

MFUGAKU_INLINE void interleave(F32 a, F32 b, F32& low, F32& high) {
  low = vzip1q_f32(a, b);
  high = vzip2q_f32(a, b);
}

MFUGAKU_INLINE void deinterleave(F32 low, F32 high, F32& a, F32& b) {
  a = vuzp1q_f32(low, high);
  b = vuzp2q_f32(low, high);
}

MFUGAKU_INLINE U32 as_u32(F32 v) { return vreinterpretq_u32_f32(v); }
MFUGAKU_INLINE F32 as_f32(U32 v) { return vreinterpretq_f32_u32(v); }
MFUGAKU_INLINE U32 exclusive_or(U32 a, U32 b) { return veorq_u32(a, b); }
template <int bits> MFUGAKU_INLINE U32 shift_left(U32 v) { return vshlq_n_u32(v, bits); }
template <int bits> MFUGAKU_INLINE U32 shift_right(U32 v) { return vshrq_n_u32(v, bits); }
template <int bits> MFUGAKU_INLINE U32 add_shifted(U32 a, U32 b) { return vaddq_u32(a, vshlq_n_u32(b, bits)); }
MFUGAKU_INLINE U32 count_from(uint32_t n) {
  const U32 steps = {0, 1, 2, 3};
  return vaddq_u32(vdupq_n_u32(n), steps);
}
MFUGAKU_INLINE void multiply_wide(U32 a, uint32_t m, U32& high, U32& low) {
  const U32 first = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(a), vdup_n_u32(m)));
  const U32 second = vreinterpretq_u32_u64(vmull_u32(vget_high_u32(a), vdup_n_u32(m)));
  low = vuzp1q_u32(first, second);
  high = vuzp2q_u32(first, second);
}
MFUGAKU_INLINE Mask not_below(U32 a, U32 bound) { return vcgeq_u32(a, bound); }
MFUGAKU_INLINE F32 keep(Mask mask, F32 v) { return vreinterpretq_f32_u32(vandq_u32(mask, vreinterpretq_u32_f32(v))); }
MFUGAKU_INLINE F32 choose(Mask mask, F32 a, F32 b) { return vbslq_f32(mask, a, b); }

MFUGAKU_INLINE int64_t index_apart(int64_t i) { return i; }

constexpr int64_t kStreamBytes = 64;
MFUGAKU_INLINE int start_streams() { return 0; }
MFUGAKU_INLINE void stream(int, const char* from, char* to) {
  const auto* in = reinterpret_cast<const uint8_t*>(from);
  asm volatile("stnp %q1, %q2, [%0]\n\tstnp %q3, %q4, [%0, #32]"
               :
               : "r"(to), "w"(vld1q_u8(in)), "w"(vld1q_u8(in + 16)), "w"(vld1q_u8(in + 32)), "w"(vld1q_u8(in + 48))
               : "memory");
}
MFUGAKU_INLINE void end_streams() { asm volatile("dmb ishst" : : : "memory"); }  // stnp may pass later stores

}  // namespace
}  // namespace mfugaku::vec
