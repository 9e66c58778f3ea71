// One lane: plain C++ for any machine. See vec.h.
#pragma once

#include "vec/half.h"
#include "vec/vec.h"

namespace mfugaku::vec {
namespace {

using F32 = float;
using F64 = double;
using U32 = uint32_t;
using Mask = bool;

constexpr bool kFixedLanes = true;
MFUGAKU_INLINE int64_t lanes() { return 1; }
MFUGAKU_INLINE int64_t lanes64() { return 1; }

template <typename Count> MFUGAKU_INLINE F32 load(Float32, const float* p, Count) { return *p; }
template <typename Count> MFUGAKU_INLINE F64 load(Float64, const double* p, Count) { return *p; }
template <typename Count> MFUGAKU_INLINE F32 load(BFloat16, const uint16_t* p, Count) { return bfloat16_to_float(*p); }
template <typename Count> MFUGAKU_INLINE F32 load(Float16, const uint16_t* p, Count) { return float16_to_float(*p); }
template <typename Count> MFUGAKU_INLINE void store(Float32, float* p, F32 v, Count) { *p = v; }
MFUGAKU_INLINE void store_apart(float* low, float*, F32 v) { *low = v; }  // for the sake of the name: there is no half
template <typename Count> MFUGAKU_INLINE void store(Float64, double* p, F64 v, Count) { *p = v; }
template <typename Count> MFUGAKU_INLINE void store(BFloat16, uint16_t* p, F32 v, Count) { *p = float_to_bfloat16(v); }
template <typename Count> MFUGAKU_INLINE void store(Float16, uint16_t* p, F32 v, Count) { *p = float_to_float16(v); }

MFUGAKU_INLINE F32 broadcast(float value) { return value; }
MFUGAKU_INLINE F64 broadcast(double value) { return value; }
MFUGAKU_INLINE U32 broadcast(uint32_t value) { return value; }
MFUGAKU_INLINE F32 add(F32 a, F32 b) { return a + b; }
MFUGAKU_INLINE F64 add(F64 a, F64 b) { return a + b; }
MFUGAKU_INLINE U32 add(U32 a, U32 b) { return a + b; }
MFUGAKU_INLINE F32 sub(F32 a, F32 b) { return a - b; }
MFUGAKU_INLINE U32 sub(U32 a, U32 b) { return a - b; }
MFUGAKU_INLINE F32 mul(F32 a, F32 b) { return a * b; }
MFUGAKU_INLINE F64 mul(F64 a, F64 b) { return a * b; }
MFUGAKU_INLINE F32 fma(F32 a, F32 b, F32 c) { return __builtin_fmaf(a, b, c); }
MFUGAKU_INLINE F32 fnma(F32 a, F32 b, F32 c) { return __builtin_fmaf(-a, b, c); }
MFUGAKU_INLINE void accumulate(F32& sum, F32 a, F32 b) { sum = fma(a, b, sum); }
MFUGAKU_INLINE F32 fma_over(F32 a, F32 b, F32 c) { return fma(a, b, c); }
MFUGAKU_INLINE F32 fnma_over(F32 a, F32 b, F32 c) { return fnma(a, b, c); }
MFUGAKU_INLINE F32 refine(F32 r, F32 d) {
  const F32 e = fnma(d, r, broadcast(1.0f)), square = mul(e, e), better = fma(r, e, r);
  return fma(better, fma(square, square, square), better);
}
MFUGAKU_INLINE F32 at_least(F32 v, F32 bound) { return bound > v ? bound : v; }
MFUGAKU_INLINE F32 at_most(F32 v, F32 bound) { return bound < v ? bound : v; }
MFUGAKU_INLINE float largest(F32 v) { return v; }

MFUGAKU_INLINE void interleave(F32 a, F32 b, F32& low, F32& high) {
  low = a;
  high = b;
}

MFUGAKU_INLINE void deinterleave(F32 low, F32 high, F32& a, F32& b) {
  a = low;
  b = high;
}

MFUGAKU_INLINE U32 as_u32(F32 v) { return bits_of(v); }
MFUGAKU_INLINE F32 as_f32(U32 v) { return float_of(v); }
MFUGAKU_INLINE U32 exclusive_or(U32 a, U32 b) { return a ^ b; }
template <int bits> MFUGAKU_INLINE U32 shift_left(U32 v) { return v << bits; }
template <int bits> MFUGAKU_INLINE U32 shift_right(U32 v) { return v >> bits; }
template <int bits> MFUGAKU_INLINE U32 add_shifted(U32 a, U32 b) { return a + (b << bits); }
MFUGAKU_INLINE U32 count_from(uint32_t n) { return n; }
MFUGAKU_INLINE void multiply_wide(U32 a, uint32_t m, U32& high, U32& low) {
  const uint64_t product = static_cast<uint64_t>(a) * m;
  high = static_cast<uint32_t>(product >> 32);
  low = static_cast<uint32_t>(product);
}
MFUGAKU_INLINE Mask not_below(U32 a, U32 bound) { return a >= bound; }
MFUGAKU_INLINE F32 keep(Mask mask, F32 v) { return mask ? v : 0.0f; }
MFUGAKU_INLINE F32 choose(Mask mask, F32 a, F32 b) { return mask ? a : b; }

MFUGAKU_INLINE int64_t index_apart(int64_t i) { return i; }

constexpr int64_t kStreamBytes = 64;
MFUGAKU_INLINE int start_streams() { return 0; }
MFUGAKU_INLINE void stream(int, const char* from, char* to) { __builtin_memcpy(to, from, kStreamBytes); }
MFUGAKU_INLINE void end_streams() {}

}  // namespace
}  // namespace mfugaku::vec
