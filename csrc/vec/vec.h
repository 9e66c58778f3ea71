// What every header of this folder defines in an unnamed namespace, so that no function compiled for one instruction set
// can be linked in place of one compiled for another:
//
//   F32 F64 U32 Mask         vectors of float, double and uint32_t, and one truth value per 32-bit lane
//   lanes() lanes64()        lanes of F32, U32 and Mask; lanes of F64. kFixedLanes: a compiler knows them
//   load(Format, p, count)   elements of a storage format as F32 (F64 for Float64). `count` is All, or First{n}, which
//   store(Format, p, v, count)   touches the first n elements only and fills the other lanes with zero. p need not be
//                            aligned. Narrowing rounds to nearest even and ignores flush-to-zero; a NaN stays a NaN.
//   store_apart(low, high, v)   the first half of an F32 at low, the second at high: half a vector or more behind the
//                            beginning of an array
//   broadcast add sub mul    fma(a, b, c) = a * b + c and fnma(a, b, c) = c - a * b round once; accumulate(c, a, b): c = fma(a, b, c)
//                            fma_over(a, b, c) = fma(a, b, c) and fnma_over likewise, where a is not needed any more: it is
//                            overwritten. refine(r, d): 1 / d from an r that is near it; with e = 1 - d r it is
//                            r (1 + e) (1 + e^2 + e^4)
//   at_least at_most         at_least(v, bound) = max(v, bound); a NaN in v stays
//   interleave(a, b, low, high)   a0 b0 a1 b1 ... : the first half of it in low, the second in high
//   deinterleave(low, high, a, b)   the reverse: even places of both together in a, odd ones in b
//   largest(v)               the largest lane of an F32; anything when one is a NaN
//   as_u32 as_f32 exclusive_or shift_left<bits> shift_right<bits> count_from(n)   count_from: n, n + 1, ... modulo 2^32
//   add_shifted<bits>(a, b)  a + b * 2^bits, modulo 2^32
//   multiply_wide(a, m, high, low)   the 64-bit products of each lane with a scalar
//   index_apart(i)           i, in a register that all arrays share where their addresses would cost one each
//   start_streams() stream(s, from, to) end_streams()   copies kStreamBytes to an address that is a multiple of them,
//                            past the caches; s is what start_streams() returned, once for many
//   not_below(a, bound)      a >= bound, unsigned
//   keep(mask, v)            v where true, else +0; choose(mask, a, b): a where true, else b
//
// A kernel is one source over these names, included once by a file for each instruction set. All results are
// bit-identical on every instruction set and vector length, but for which NaN a NaN is.
#pragma once

#include <cstdint>

// What handles exceptions refers to a symbol that objects share, which those for some CPUs only must not have.
#define MFUGAKU_INLINE __attribute__((always_inline, nothrow)) inline

namespace mfugaku::vec {

struct Float32 { using Element = float; using Sum = Float32; };
struct Float64 { using Element = double; using Sum = Float64; };
struct BFloat16 { using Element = uint16_t; using Sum = Float32; };  // Sum: the format in which sums are kept
struct Float16 { using Element = uint16_t; using Sum = Float32; };

struct All {};
struct First { int64_t n; };

}  // namespace mfugaku::vec
