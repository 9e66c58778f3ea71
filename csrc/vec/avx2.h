// Eight lanes of AVX2 with FMA and F16C. See vec.h.
#pragma once

#include <immintrin.h>

#include "vec/vec.h"

namespace mfugaku::vec {
namespace {

using F32 = __m256;
using F64 = __m256d;
using U32 = __m256i;
using Mask = __m256i;

constexpr bool kFixedLanes = true;
MFUGAKU_INLINE int64_t lanes() { return 8; }
MFUGAKU_INLINE int64_t lanes64() { return 4; }

MFUGAKU_INLINE __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
MFUGAKU_INLINE __m256i first_lanes64(int64_t n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}

// AVX2 has no masked moves of 16-bit elements.
MFUGAKU_INLINE __m128i load_halves(const uint16_t* p, All) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
MFUGAKU_INLINE __m128i load_halves(const uint16_t* p, First count) {
  alignas(16) uint16_t buffer[8] = {};
  for (int64_t i = 0; i < count.n; ++i) buffer[i] = p[i];
  return _mm_load_si128(reinterpret_cast<const __m128i*>(buffer));
}
MFUGAKU_INLINE void store_halves(uint16_t* p, __m128i v, All) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
MFUGAKU_INLINE void store_halves(uint16_t* p, __m128i v, First count) {
  alignas(16) uint16_t buffer[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(buffer), v);
  for (int64_t i = 0; i < count.n; ++i) p[i] = buffer[i];
}

MFUGAKU_INLINE F32 load(Float32, const float* p, All) { return _mm256_loadu_ps(p); }
MFUGAKU_INLINE F32 load(Float32, const float* p, First count) { return _mm256_maskload_ps(p, first_lanes(count.n)); }
MFUGAKU_INLINE F64 load(Float64, const double* p, All) { return _mm256_loadu_pd(p); }
MFUGAKU_INLINE F64 load(Float64, const double* p, First count) {
  return _mm256_maskload_pd(p, first_lanes64(count.n));
}
template <typename Count> MFUGAKU_INLINE F32 load(BFloat16, const uint16_t* p, Count count) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_halves(p, count)), 16));
}
template <typename Count> MFUGAKU_INLINE F32 load(Float16, const uint16_t* p, Count count) {
  return _mm256_cvtph_ps(load_halves(p, count));
}

MFUGAKU_INLINE void store(Float32, float* p, F32 v, All) { _mm256_storeu_ps(p, v); }
MFUGAKU_INLINE void store(Float32, float* p, F32 v, First count) { _mm256_maskstore_ps(p, first_lanes(count.n), v); }
MFUGAKU_INLINE void store_apart(float* low, float* high, F32 v) {
  _mm_storeu_ps(low, _mm256_castps256_ps128(v));
  _mm_storeu_ps(high, _mm256_extractf128_ps(v, 1));
}
MFUGAKU_INLINE void store(Float64, double* p, F64 v, All) { _mm256_storeu_pd(p, v); }
MFUGAKU_INLINE void store(Float64, double* p, F64 v, First count) {
  _mm256_maskstore_pd(p, first_lanes64(count.n), v);
}
template <typename Count> MFUGAKU_INLINE void store(BFloat16, uint16_t* p, F32 v, Count count) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const __m256i chosen = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000), is_nan);
  const __m256i high = _mm256_srli_epi32(chosen, 16);
  store_halves(p, _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1)), count);
}
template <typename Count> MFUGAKU_INLINE void store(Float16, uint16_t* p, F32 v, Count count) {
  store_halves(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT), count);
}

MFUGAKU_INLINE F32 broadcast(float value) { return _mm256_set1_ps(value); }
MFUGAKU_INLINE F64 broadcast(double value) { return _mm256_set1_pd(value); }
MFUGAKU_INLINE U32 broadcast(uint32_t value) { return _mm256_set1_epi32(static_cast<int>(value)); }
MFUGAKU_INLINE F32 add(F32 a, F32 b) { return _mm256_add_ps(a, b); }
MFUGAKU_INLINE F64 add(F64 a, F64 b) { return _mm256_add_pd(a, b); }
MFUGAKU_INLINE U32 add(U32 a, U32 b) { return _mm256_add_epi32(a, b); }
MFUGAKU_INLINE F32 sub(F32 a, F32 b) { return _mm256_sub_ps(a, b); }
MFUGAKU_INLINE U32 sub(U32 a, U32 b) { return _mm256_sub_epi32(a, b); }
MFUGAKU_INLINE F32 mul(F32 a, F32 b) { return _mm256_mul_ps(a, b); }
MFUGAKU_INLINE F64 mul(F64 a, F64 b) { return _mm256_mul_pd(a, b); }
MFUGAKU_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
MFUGAKU_INLINE F32 fnma(F32 a, F32 b, F32 c) { return _mm256_fnmadd_ps(a, b, c); }
MFUGAKU_INLINE void accumulate(F32& sum, F32 a, F32 b) { sum = fma(a, b, sum); }
MFUGAKU_INLINE F32 fma_over(F32 a, F32 b, F32 c) { return fma(a, b, c); }
MFUGAKU_INLINE F32 fnma_over(F32 a, F32 b, F32 c) { return fnma(a, b, c); }
MFUGAKU_INLINE F32 refine(F32 r, F32 d) {
  const F32 e = fnma(d, r, broadcast(1.0f)), square = mul(e, e), better = fma(r, e, r);
  return fma(better, fma(square, square, square), better);
}
// The instructions return their second operand when either is a NaN.
MFUGAKU_INLINE F32 at_least(F32 v, F32 bound) { return _mm256_max_ps(bound, v); }
MFUGAKU_INLINE F32 at_most(F32 v, F32 bound) { return _mm256_min_ps(bound, v); }
MFUGAKU_INLINE float largest(F32 v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

MFUGAKU_INLINE void interleave(F32 a, F32 b, F32& low, F32& high) {
  const F32 even = _mm256_unpacklo_ps(a, b), odd = _mm256_unpackhi_ps(a, b);
  low = _mm256_permute2f128_ps(even, odd, 0x20);
  high = _mm256_permute2f128_ps(even, odd, 0x31);
}

MFUGAKU_INLINE void deinterleave(F32 low, F32 high, F32& a, F32& b) {
  const auto in_order = [](F32 v) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xD8)); };
  a = in_order(_mm256_shuffle_ps(low, high, 0x88));
  b = in_order(_mm256_shuffle_ps(low, high, 0xDD));
}

MFUGAKU_INLINE U32 as_u32(F32 v) { return _mm256_castps_si256(v); }
MFUGAKU_INLINE F32 as_f32(U32 v) { return _mm256_castsi256_ps(v); }
MFUGAKU_INLINE U32 exclusive_or(U32 a, U32 b) { return _mm256_xor_si256(a, b); }
template <int bits> MFUGAKU_INLINE U32 shift_left(U32 v) { return _mm256_slli_epi32(v, bits); }
template <int bits> MFUGAKU_INLINE U32 shift_right(U32 v) { return _mm256_srli_epi32(v, bits); }
template <int bits> MFUGAKU_INLINE U32 add_shifted(U32 a, U32 b) { return add(a, shift_left<bits>(b)); }
MFUGAKU_INLINE U32 count_from(uint32_t n) { return add(broadcast(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
MFUGAKU_INLINE void multiply_wide(U32 a, uint32_t m, U32& high, U32& low) {
  const U32 factor = broadcast(m);
  const U32 even = _mm256_mul_epu32(a, factor);
  const U32 odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
  low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
  high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}
MFUGAKU_INLINE Mask not_below(U32 a, U32 bound) { return _mm256_cmpeq_epi32(_mm256_max_epu32(a, bound), a); }
MFUGAKU_INLINE F32 keep(Mask mask, F32 v) { return _mm256_and_ps(_mm256_castsi256_ps(mask), v); }
MFUGAKU_INLINE F32 choose(Mask mask, F32 a, F32 b) { return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(mask)); }

MFUGAKU_INLINE int64_t index_apart(int64_t i) { return i; }

constexpr int64_t kStreamBytes = 64;
MFUGAKU_INLINE int start_streams() { return 0; }
MFUGAKU_INLINE void stream(int, const char* from, char* to) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), low);
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to + 32), high);
}
MFUGAKU_INLINE void end_streams() { _mm_sfence(); }

}  // namespace
}  // namespace mfugaku::vec
