// BF16 instructions of SVE (FEAT_BF16), for files compiled for CPUs that have them. A vector holds, for every 16 bytes,
// two rows or columns of four elements each, or the two by two sums of their products.
#pragma once

#include "vec/sve.h"

namespace mfugaku::vec {
namespace {

using Fours = svbfloat16_t;

MFUGAKU_INLINE int64_t lanes_of_fours() { return static_cast<int64_t>(svcnth()); }
MFUGAKU_INLINE Fours load_fours(const uint16_t* p) { return svreinterpret_bf16_u16(svld1_u16(svptrue_b16(), p)); }
// The two fours at p again and again.
MFUGAKU_INLINE Fours repeat_fours(const uint16_t* p) { return svreinterpret_bf16_u16(svld1rq_u16(svptrue_b16(), p)); }
MFUGAKU_INLINE void add_products_of_fours(F32& sums, Fours rows, Fours columns) {
  sums = svbfmmla_f32(sums, rows, columns);
}
// Between vectors of two by two sums, the second of columns that follow on those of the first, and two rows of them.
MFUGAKU_INLINE void split_rows(F32 first, F32 second, F32& row0, F32& row1) {
  const svuint64_t a = svreinterpret_u64_f32(first), b = svreinterpret_u64_f32(second);
  row0 = svreinterpret_f32_u64(svuzp1_u64(a, b));
  row1 = svreinterpret_f32_u64(svuzp2_u64(a, b));
}
MFUGAKU_INLINE void join_rows(F32 row0, F32 row1, F32& first, F32& second) {
  const svuint64_t a = svreinterpret_u64_f32(row0), b = svreinterpret_u64_f32(row1);
  first = svreinterpret_f32_u64(svzip1_u64(a, b));
  second = svreinterpret_f32_u64(svzip2_u64(a, b));
}

}  // namespace
}  // namespace mfugaku::vec
