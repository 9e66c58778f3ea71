// Sixteen lanes of AVX-512 (F, BW, DQ, VL). See vec.h.
#pragma once

// gcc 12 takes the deliberately undefined operands in its own header for mistakes.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include "vec/vec.h"

namespace mfugaku::vec {
namespace {

using F32 = __m512;
using F64 = __m512d;
using U32 = __m512i;
using Mask = __mmask16;

constexpr bool kFixedLanes = true;
MFUGAKU_INLINE int64_t lanes() { return 16; }
MFUGAKU_INLINE int64_t lanes64() { return 8; }

MFUGAKU_INLINE __mmask16 first_lanes(First count) { return static_cast<__mmask16>((1u << count.n) - 1u); }
MFUGAKU_INLINE __mmask8 first_lanes64(First count) { return static_cast<__mmask8>((1u << count.n) - 1u); }

MFUGAKU_INLINE __m256i load_halves(const uint16_t* p, All) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
MFUGAKU_INLINE __m256i load_halves(const uint16_t* p, First count) {
  return _mm256_maskz_loadu_epi16(first_lanes(count), p);
}
MFUGAKU_INLINE void store_halves(uint16_t* p, __m256i v, All) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}
MFUGAKU_INLINE void store_halves(uint16_t* p, __m256i v, First count) {
  _mm256_mask_storeu_epi16(p, first_lanes(count), v);
}

MFUGAKU_INLINE F32 load(Float32, const float* p, All) { return _mm512_loadu_ps(p); }
MFUGAKU_INLINE F32 load(Float32, const float* p, First count) { return _mm512_maskz_loadu_ps(first_lanes(count), p); }
MFUGAKU_INLINE F64 load(Float64, const double* p, All) { return _mm512_loadu_pd(p); }
MFUGAKU_INLINE F64 load(Float64, const double* p, First count) {
  return _mm512_maskz_loadu_pd(first_lanes64(count), p);
}
template <typename Count> MFUGAKU_INLINE F32 load(BFloat16, const uint16_t* p, Count count) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(p, count)), 16));
}
template <typename Count> MFUGAKU_INLINE F32 load(Float16, const uint16_t* p, Count count) {
  return _mm512_cvtph_ps(load_halves(p, count));
}

MFUGAKU_INLINE void store(Float32, float* p, F32 v, All) { _mm512_storeu_ps(p, v); }
MFUGAKU_INLINE void store(Float32, float* p, F32 v, First count) { _mm512_mask_storeu_ps(p, first_lanes(count), v); }
MFUGAKU_INLINE void store_apart(float* low, float* high, F32 v) {
  _mm256_storeu_ps(low, _mm512_castps512_ps256(v));
  _mm256_storeu_ps(high, _mm512_extractf32x8_ps(v, 1));
}
MFUGAKU_INLINE void store(Float64, double* p, F64 v, All) { _mm512_storeu_pd(p, v); }
MFUGAKU_INLINE void store(Float64, double* p, F64 v, First count) {
  _mm512_mask_storeu_pd(p, first_lanes64(count), v);
}
template <typename Count> MFUGAKU_INLINE void store(BFloat16, uint16_t* p, F32 v, Count count) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  const __m512i chosen = _mm512_mask_mov_epi32(rounded, is_nan, _mm512_set1_epi32(0x7fc00000));
  store_halves(p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(chosen, 16)), count);
}
template <typename Count> MFUGAKU_INLINE void store(Float16, uint16_t* p, F32 v, Count count) {
  store_halves(p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT), count);
}

MFUGAKU_INLINE F32 broadcast(float value) { return _mm512_set1_ps(value); }
MFUGAKU_INLINE F64 broadcast(double value) { return _mm512_set1_pd(value); }
MFUGAKU_INLINE U32 broadcast(uint32_t value) { return _mm512_set1_epi32(static_cast<int>(value)); }
MFUGAKU_INLINE F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
MFUGAKU_INLINE F64 add(F64 a, F64 b) { return _mm512_add_pd(a, b); }
MFUGAKU_INLINE U32 add(U32 a, U32 b) { return _mm512_add_epi32(a, b); }
MFUGAKU_INLINE F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
MFUGAKU_INLINE U32 sub(U32 a, U32 b) { return _mm512_sub_epi32(a, b); }
MFUGAKU_INLINE F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
MFUGAKU_INLINE F64 mul(F64 a, F64 b) { return _mm512_mul_pd(a, b); }
MFUGAKU_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
MFUGAKU_INLINE F32 fnma(F32 a, F32 b, F32 c) { return _mm512_fnmadd_ps(a, b, c); }
MFUGAKU_INLINE void accumulate(F32& sum, F32 a, F32 b) { sum = fma(a, b, sum); }
MFUGAKU_INLINE F32 fma_over(F32 a, F32 b, F32 c) { return fma(a, b, c); }
MFUGAKU_INLINE F32 fnma_over(F32 a, F32 b, F32 c) { return fnma(a, b, c); }
MFUGAKU_INLINE F32 refine(F32 r, F32 d) {
  const F32 e = fnma(d, r, broadcast(1.0f)), square = mul(e, e), better = fma(r, e, r);
  return fma(better, fma(square, square, square), better);
}
// The instructions return their second operand when either is a NaN.
MFUGAKU_INLINE F32 at_least(F32 v, F32 bound) { return _mm512_max_ps(bound, v); }
MFUGAKU_INLINE F32 at_most(F32 v, F32 bound) { return _mm512_min_ps(bound, v); }
MFUGAKU_INLINE float largest(F32 v) { return _mm512_reduce_max_ps(v); }

MFUGAKU_INLINE void interleave(F32 a, F32 b, F32& low, F32& high) {
  const __m512i places = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  low = _mm512_permutex2var_ps(a, places, b);
  high = _mm512_permutex2var_ps(a, _mm512_add_epi32(places, _mm512_set1_epi32(8)), b);
}

MFUGAKU_INLINE void deinterleave(F32 low, F32 high, F32& a, F32& b) {
  const __m512i places = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  a = _mm512_permutex2var_ps(low, places, high);
  b = _mm512_permutex2var_ps(low, _mm512_add_epi32(places, _mm512_set1_epi32(1)), high);
}

MFUGAKU_INLINE U32 as_u32(F32 v) { return _mm512_castps_si512(v); }
MFUGAKU_INLINE F32 as_f32(U32 v) { return _mm512_castsi512_ps(v); }
MFUGAKU_INLINE U32 exclusive_or(U32 a, U32 b) { return _mm512_xor_si512(a, b); }
template <int bits> MFUGAKU_INLINE U32 shift_left(U32 v) { return _mm512_slli_epi32(v, bits); }
template <int bits> MFUGAKU_INLINE U32 shift_right(U32 v) { return _mm512_srli_epi32(v, bits); }
template <int bits> MFUGAKU_INLINE U32 add_shifted(U32 a, U32 b) { return add(a, shift_left<bits>(b)); }
MFUGAKU_INLINE U32 count_from(uint32_t n) {
  return add(broadcast(n), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}
MFUGAKU_INLINE void multiply_wide(U32 a, uint32_t m, U32& high, U32& low) {
  const U32 factor = broadcast(m);
  const U32 even = _mm512_mul_epu32(a, factor);
  const U32 odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), factor);
  low = _mm512_mask_mov_epi32(even, 0xAAAA, _mm512_slli_epi64(odd, 32));
  high = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xAAAA, odd);
}
MFUGAKU_INLINE Mask not_below(U32 a, U32 bound) { return _mm512_cmpge_epu32_mask(a, bound); }
MFUGAKU_INLINE F32 keep(Mask mask, F32 v) { return _mm512_maskz_mov_ps(mask, v); }
MFUGAKU_INLINE F32 choose(Mask mask, F32 a, F32 b) { return _mm512_mask_blend_ps(mask, b, a); }

MFUGAKU_INLINE int64_t index_apart(int64_t i) { return i; }

constexpr int64_t kStreamBytes = 64;
MFUGAKU_INLINE int start_streams() { return 0; }
MFUGAKU_INLINE void stream(int, const char* from, char* to) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
}
MFUGAKU_INLINE void end_streams() { _mm_sfence(); }

}  // namespace
}  // namespace mfugaku::vec
