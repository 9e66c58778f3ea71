// Rounding to odd, over the names of vec.h: of two float32 around a number, the one whose last bit is set. What is
// rounded again, to two bits less or fewer, then has one rounding's error only (Boldo and Melquiond, "Emulation of FMA
// and correctly rounded sums: proved algorithms using rounding to odd", 2008).
#pragma once

#include "vec/vec.h"

namespace mfugaku::vec {
namespace {

// What a + b loses when `sum` is the float32 nearest to it (Knuth, "The Art of Computer Programming", volume 2, section
// 4.2.2).
MFUGAKU_INLINE F32 rest_of_sum(F32 a, F32 b, F32 sum) {
  const F32 of_b = sub(sum, a);
  return add(sub(a, sub(sum, of_b)), sub(b, of_b));
}

// sum + rest rounded to odd, where sum is the float32 nearest to that; infinities do not pass.
MFUGAKU_INLINE F32 round_to_odd(F32 sum, F32 rest) {
  const U32 bits = as_u32(sum), one = broadcast(1u);
  const Mask is_odd = not_below(shift_left<31>(bits), one), has_rest = not_below(shift_left<1>(as_u32(rest)), one);
  const Mask is_less = not_below(exclusive_or(as_u32(rest), bits), broadcast(0x80000000u));
  const F32 moved = choose(is_less, as_f32(add(bits, broadcast(0xffffffffu))), as_f32(add(bits, one)));
  return choose(is_odd, sum, choose(has_rest, moved, sum));
}

}  // namespace
}  // namespace mfugaku::vec
