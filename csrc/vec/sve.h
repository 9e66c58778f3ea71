// SVE of any vector length: nothing here knows the number of lanes before it runs. See vec.h.
#pragma once

#include <arm_sve.h>

#include "vec/vec.h"

namespace mfugaku::vec {
namespace {

using F32 = svfloat32_t;
using F64 = svfloat64_t;
using U32 = svuint32_t;
using Mask = svbool_t;

constexpr bool kFixedLanes = false;
MFUGAKU_INLINE int64_t lanes() { return static_cast<int64_t>(svcntw()); }
MFUGAKU_INLINE int64_t lanes64() { return static_cast<int64_t>(svcntd()); }

MFUGAKU_INLINE svbool_t active(All) { return svptrue_b32(); }
MFUGAKU_INLINE svbool_t active(First count) { return svwhilelt_b32_s64(0, count.n); }
MFUGAKU_INLINE svbool_t active64(All) { return svptrue_b64(); }
MFUGAKU_INLINE svbool_t active64(First count) { return svwhilelt_b64_s64(0, count.n); }

template <typename Count> MFUGAKU_INLINE F32 load(Float32, const float* p, Count count) {
  return svld1_f32(active(count), p);
}
template <typename Count> MFUGAKU_INLINE F64 load(Float64, const double* p, Count count) {
  return svld1_f64(active64(count), p);
}
// Halves sit in the low 16 bits of 32-bit lanes, where the conversions expect and leave them.
template <typename Count> MFUGAKU_INLINE F32 load(BFloat16, const uint16_t* p, Count count) {
  return svreinterpret_f32_u32(svlsl_n_u32_x(svptrue_b32(), svld1uh_u32(active(count), p), 16));
}
template <typename Count> MFUGAKU_INLINE F32 load(Float16, const uint16_t* p, Count count) {
  return svcvt_f32_f16_x(svptrue_b32(), svreinterpret_f16_u32(svld1uh_u32(active(count), p)));
}

template <typename Count> MFUGAKU_INLINE void store(Float32, float* p, F32 v, Count count) {
  svst1_f32(active(count), p, v);
}
MFUGAKU_INLINE void store_apart(float* low, float* high, F32 v) {
  const int64_t half = lanes() / 2;
  const svbool_t first = svwhilelt_b32_s64(0, half);
  svst1_f32(first, low, v);
  svst1_f32(svnot_b_z(svptrue_b32(), first), high - half, v);
}
template <typename Count> MFUGAKU_INLINE void store(Float64, double* p, F64 v, Count count) {
  svst1_f64(active64(count), p, v);
}
template <typename Count> MFUGAKU_INLINE void store(BFloat16, uint16_t* p, F32 v, Count count) {
  const svbool_t all = svptrue_b32();
  const svuint32_t bits = svreinterpret_u32_f32(v);
  const svuint32_t odd = svand_n_u32_x(all, svlsr_n_u32_x(all, bits, 16), 1);
  const svuint32_t rounded = svadd_u32_x(all, bits, svadd_n_u32_x(all, odd, 0x7fff));
  const svuint32_t chosen = svsel_u32(svcmpuo_f32(all, v, v), svdup_n_u32(0x7fc00000), rounded);
  svst1h_u32(active(count), p, svlsr_n_u32_x(all, chosen, 16));
}
template <typename Count> MFUGAKU_INLINE void store(Float16, uint16_t* p, F32 v, Count count) {
  svst1h_u32(active(count), p, svreinterpret_u32_f16(svcvt_f16_f32_x(svptrue_b32(), v)));
}

MFUGAKU_INLINE F32 broadcast(float value) { return svdup_n_f32(value); }
MFUGAKU_INLINE F64 broadcast(double value) { return svdup_n_f64(value); }
MFUGAKU_INLINE U32 broadcast(uint32_t value) { return svdup_n_u32(value); }
MFUGAKU_INLINE F32 add(F32 a, F32 b) { return svadd_f32_x(svptrue_b32(), a, b); }
MFUGAKU_INLINE F64 add(F64 a, F64 b) { return svadd_f64_x(svptrue_b64(), a, b); }
MFUGAKU_INLINE U32 add(U32 a, U32 b) { return svadd_u32_x(svptrue_b32(), a, b); }
MFUGAKU_INLINE F32 sub(F32 a, F32 b) { return svsub_f32_x(svptrue_b32(), a, b); }
MFUGAKU_INLINE U32 sub(U32 a, U32 b) { return svsub_u32_x(svptrue_b32(), a, b); }
MFUGAKU_INLINE F32 mul(F32 a, F32 b) { return svmul_f32_x(svptrue_b32(), a, b); }
MFUGAKU_INLINE F64 mul(F64 a, F64 b) { return svmul_f64_x(svptrue_b64(), a, b); }
MFUGAKU_INLINE F32 fma(F32 a, F32 b, F32 c) { return svmla_f32_x(svptrue_b32(), c, a, b); }
MFUGAKU_INLINE F32 fnma(F32 a, F32 b, F32 c) { return svmls_f32_x(svptrue_b32(), c, a, b); }
#if defined(__clang__)
MFUGAKU_INLINE void accumulate(F32& sum, F32 a, F32 b) { sum = fma(a, b, sum); }
MFUGAKU_INLINE F32 fma_over(F32 a, F32 b, F32 c) { return fma(a, b, c); }
MFUGAKU_INLINE F32 fnma_over(F32 a, F32 b, F32 c) { return fnma(a, b, c); }
MFUGAKU_INLINE F32 refine(F32 r, F32 d) {
  const F32 e = fnma(d, r, broadcast(1.0f)), square = mul(e, e), better = fma(r, e, r);
  return fma(better, fma(square, square, square), better);
}
template <int bits> MFUGAKU_INLINE U32 add_shifted(U32 a, U32 b) {
  return svmla_n_u32_x(svptrue_b32(), a, b, uint32_t{1} << bits);
}
#else
// Left to itself gcc 12 overwrites an operand instead, in chains of many sums, and then has to copy it before.
MFUGAKU_INLINE void accumulate(F32& sum, F32 a, F32 b) {
  asm("fmla %0.s, %1/m, %2.s, %3.s" : "+w"(sum) : "Upl"(svptrue_b32()), "w"(a), "w"(b));
}
MFUGAKU_INLINE F32 fma_over(F32 a, F32 b, F32 c) {
  asm("fmad %0.s, %1/m, %2.s, %3.s" : "+w"(a) : "Upl"(svptrue_b32()), "w"(b), "w"(c));
  return a;
}
MFUGAKU_INLINE F32 fnma_over(F32 a, F32 b, F32 c) {
  asm("fmsb %0.s, %1/m, %2.s, %3.s" : "+w"(a) : "Upl"(svptrue_b32()), "w"(b), "w"(c));
  return a;
}
MFUGAKU_INLINE F32 refine(F32 r, F32 d) {
  asm("fmsb %1.s, %2/m, %0.s, %3.s\n\t"
      "fmla %0.s, %2/m, %0.s, %1.s\n\t"
      "fmul %1.s, %1.s, %1.s\n\t"
      "fmla %1.s, %2/m, %1.s, %1.s\n\t"
      "fmla %0.s, %2/m, %0.s, %1.s"
      : "+w"(r), "+w"(d)
      : "Upl"(svptrue_b32()), "w"(broadcast(1.0f)));
  return r;
}
template <int bits> MFUGAKU_INLINE U32 add_shifted(U32 a, U32 b) {
  asm("mla %0.s, %1/m, %2.s, %3.s" : "+w"(a) : "Upl"(svptrue_b32()), "w"(b), "w"(svdup_n_u32(uint32_t{1} << bits)));
  return a;
}
#endif
MFUGAKU_INLINE F32 at_least(F32 v, F32 bound) { return svmax_f32_x(svptrue_b32(), v, bound); }
MFUGAKU_INLINE F32 at_most(F32 v, F32 bound) { return svmin_f32_x(svptrue_b32(), v, bound); }
MFUGAKU_INLINE float largest(F32 v) { return svmaxv_f32(svptrue_b32(), v); }

MFUGAKU_INLINE void interleave(F32 a, F32 b, F32& low, F32& high) {
  low = svzip1_f32(a, b);
  high = svzip2_f32(a, b);
}

MFUGAKU_INLINE void deinterleave(F32 low, F32 high, F32& a, F32& b) {
  a = svuzp1_f32(low, high);
  b = svuzp2_f32(low, high);
}

MFUGAKU_INLINE U32 as_u32(F32 v) { return svreinterpret_u32_f32(v); }
MFUGAKU_INLINE F32 as_f32(U32 v) { return svreinterpret_f32_u32(v); }
MFUGAKU_INLINE U32 exclusive_or(U32 a, U32 b) { return sveor_u32_x(svptrue_b32(), a, b); }
template <int bits> MFUGAKU_INLINE U32 shift_left(U32 v) { return svlsl_n_u32_x(svptrue_b32(), v, bits); }
template <int bits> MFUGAKU_INLINE U32 shift_right(U32 v) { return svlsr_n_u32_x(svptrue_b32(), v, bits); }
MFUGAKU_INLINE U32 count_from(uint32_t n) { return svindex_u32(n, 1); }
MFUGAKU_INLINE void multiply_wide(U32 a, uint32_t m, U32& high, U32& low) {
  const U32 factor = svdup_n_u32(m);
  high = svmulh_u32_x(svptrue_b32(), a, factor);
  low = svmul_u32_x(svptrue_b32(), a, factor);
}
MFUGAKU_INLINE Mask not_below(U32 a, U32 bound) { return svcmpge_u32(svptrue_b32(), a, bound); }
MFUGAKU_INLINE F32 keep(Mask mask, F32 v) { return svsel_f32(mask, v, svdup_n_f32(0.0f)); }
MFUGAKU_INLINE F32 choose(Mask mask, F32 a, F32 b) { return svsel_f32(mask, a, b); }

// Stores and loads have no other immediate offsets than multiples of a vector.
MFUGAKU_INLINE int64_t index_apart(int64_t i) {
  asm("" : "+r"(i));
  return i;
}

// A line of the A64FX, and a multiple of every line and vector there is.
constexpr int64_t kStreamBytes = 256;
// The bytes that `dc zva` sets to zero, which takes a line into the cache without reading its memory; 0 when the system
// forbids it, or when they are more than kStreamBytes.
MFUGAKU_INLINE int64_t start_streams() {
  uint64_t id = 0;
  asm("mrs %0, dczid_el0" : "=r"(id));
  const int64_t num_bytes = int64_t{4} << (id & 15);
  return (id & 16) != 0 || num_bytes > kStreamBytes ? 0 : num_bytes;
}
MFUGAKU_INLINE void stream(int64_t zeroed, const char* from, char* to) {
  for (int64_t i = 0; zeroed > 0 && i < kStreamBytes; i += zeroed) asm volatile("dc zva, %0" : : "r"(to + i) : "memory");
  const auto width = static_cast<int64_t>(svcntb());
  for (int64_t i = 0; i < kStreamBytes; i += width) {
    const svbool_t active = svwhilelt_b8_s64(i, kStreamBytes);
    const svuint8_t bytes = svld1_u8(active, reinterpret_cast<const uint8_t*>(from + i));
    svst1_u8(active, reinterpret_cast<uint8_t*>(to + i), bytes);
  }
}
MFUGAKU_INLINE void end_streams() {}

}  // namespace
}  // namespace mfugaku::vec
