// Arithmetic of float16 by float32, over the names of vec.h, to the bit of what CPUs do that have it: each product, and
// each multiply-add, rounds once to the nearest float16, ties to even; subnormal numbers are kept, and what would be
// larger than 65504 is infinite. This header and those for CPUs with float16 (sve_fp16.h, neon_fp16.h) define beside
// vec.h:
//
//   F16                      twice as many lanes as F32
//   lanes16()                their number
//   load16(p) store16(p, v)  a whole vector from or to memory
//   broadcast16(p)           one element of memory in all lanes
//   add mul                  a + b, a * b
//   accumulate(c, a, b)      c = a * b + c, rounded once
//   widen(v, a, b)           the lanes as float32, in two vectors, in an order of the instruction set's own
//   narrow(a, b)             the reverse, rounded to the nearest; for store16 alone
//   put_in_order(a, b)       two vectors in that order to the order of memory; take_apart is the reverse
//   interleave               of F16
//
// The rounding mode has to be the usual one, and FPCR.FZ16 of aarch64 not set, which flushes subnormal float16; what
// flushes those of float32 does no harm.
#pragma once

#include "vec/odd.h"

namespace mfugaku::vec {
namespace {

struct F16 {
  F32 a, b;  // float32 with values of float16
};

MFUGAKU_INLINE int64_t lanes16() { return 2 * lanes(); }
MFUGAKU_INLINE F16 load16(const uint16_t* p) {
  return {load(Float16{}, p, All{}), load(Float16{}, p + lanes(), All{})};
}
MFUGAKU_INLINE void store16(uint16_t* p, F16 v) {
  store(Float16{}, p, v.a, All{});
  store(Float16{}, p + lanes(), v.b, All{});
}
MFUGAKU_INLINE F16 broadcast16(const uint16_t* p) {
  float value;
  store(Float32{}, &value, load(Float16{}, p, First{1}), First{1});
  return {broadcast(value), broadcast(value)};
}

// The nearest float16 of sum + rest, where sum is the float32 nearest to that.
inline F32 nearest16(F32 sum, F32 rest) {
  const U32 bits = as_u32(sum);
  const F32 odd = round_to_odd(sum, rest);
  // Adding 1.5 times 2^13 of its own power of two leaves 11 bits, or those of a subnormal.
  const U32 twice = shift_left<1>(as_u32(odd));
  const F32 power = at_least(as_f32(shift_left<23>(shift_right<24>(twice))), broadcast(0x1p-14f));
  const F32 large = mul(power, broadcast(0x1.8p13f));
  const U32 magnitude = shift_right<1>(shift_left<1>(as_u32(sub(add(odd, large), large))));
  const Mask overflows = not_below(twice, broadcast(2 * 0x477ff000u));  // 65520
  const F32 finite_or_not = choose(overflows, as_f32(broadcast(0x7f800000u)), as_f32(magnitude));
  const U32 sign = shift_left<31>(shift_right<31>(bits));
  const Mask is_special = not_below(shift_left<1>(bits), broadcast(0xff000000u));  // infinite, or none
  return choose(is_special, sum, as_f32(exclusive_or(as_u32(finite_or_not), sign)));
}

// float32 has the product of two float16 exactly.
inline F32 fma16(F32 a, F32 b, F32 c) {
  const F32 product = mul(a, b), sum = add(product, c);
  return nearest16(sum, rest_of_sum(product, c, sum));
}

// A sum of two float16 that was rounded to float32 before still gives the nearest float16 (Figueroa, "When is double
// rounding innocuous?", 1995).
MFUGAKU_INLINE F16 add(const F16& a, const F16& b) {
  return {nearest16(add(a.a, b.a), broadcast(0.0f)), nearest16(add(a.b, b.b), broadcast(0.0f))};
}
MFUGAKU_INLINE F16 mul(const F16& a, const F16& b) {
  return {nearest16(mul(a.a, b.a), broadcast(0.0f)), nearest16(mul(a.b, b.b), broadcast(0.0f))};
}
MFUGAKU_INLINE void accumulate(F16& sum, const F16& a, const F16& b) {
  sum.a = fma16(a.a, b.a, sum.a);
  sum.b = fma16(a.b, b.b, sum.b);
}

MFUGAKU_INLINE void interleave(const F16& a, const F16& b, F16& low, F16& high) {
  interleave(a.a, b.a, low.a, low.b);
  interleave(a.b, b.b, high.a, high.b);
}

MFUGAKU_INLINE void widen(const F16& v, F32& a, F32& b) {
  a = v.a;
  b = v.b;
}
MFUGAKU_INLINE F16 narrow(F32 a, F32 b) { return {a, b}; }  // store16 rounds
MFUGAKU_INLINE void put_in_order(F32&, F32&) {}
MFUGAKU_INLINE void take_apart(F32&, F32&) {}

}  // namespace
}  // namespace mfugaku::vec
