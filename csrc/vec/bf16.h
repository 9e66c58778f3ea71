// Sums of products of bfloat16 by float32, over the names of vec.h, as BF16 instructions of Arm have them: see
// kernels/gemm_bf16/gemm_bf16.h.
#pragma once

#include "vec/odd.h"

namespace mfugaku::vec {
namespace {

// What is smaller than the smallest normal number becomes zero with its sign.
MFUGAKU_INLINE F32 without_subnormals(F32 v) {
  const U32 bits = as_u32(v);
  const F32 zero = as_f32(shift_left<31>(shift_right<31>(bits)));
  return choose(not_below(shift_left<1>(bits), broadcast(0x01000000u)), v, zero);
}

inline F32 add_to_odd(F32 a, F32 b) {
  const F32 sum = add(a, b), odd = without_subnormals(round_to_odd(sum, rest_of_sum(a, b, sum)));
  return choose(not_below(shift_left<1>(as_u32(sum)), broadcast(0xff000000u)), sum, odd);  // infinite, or none
}

// sum + (a0 b0 + a1 b1); float32 has a product of two bfloat16 exactly.
MFUGAKU_INLINE void add_two_products(F32& sum, F32 a0, F32 b0, F32 a1, F32 b1) {
  sum = add_to_odd(sum, add_to_odd(without_subnormals(mul(a0, b0)), without_subnormals(mul(a1, b1))));
}

}  // namespace
}  // namespace mfugaku::vec
