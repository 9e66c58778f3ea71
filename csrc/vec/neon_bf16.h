// BF16 instructions of NEON (FEAT_BF16), for files compiled for CPUs that have them. See sve_bf16.h.
#pragma once

#include "vec/neon.h"

namespace mfugaku::vec {
namespace {

using Fours = bfloat16x8_t;

MFUGAKU_INLINE int64_t lanes_of_fours() { return 8; }
MFUGAKU_INLINE Fours load_fours(const uint16_t* p) { return vreinterpretq_bf16_u16(vld1q_u16(p)); }
MFUGAKU_INLINE Fours repeat_fours(const uint16_t* p) { return load_fours(p); }
MFUGAKU_INLINE void add_products_of_fours(F32& sums, Fours rows, Fours columns) {
  sums = vbfmmlaq_f32(sums, rows, columns);
}
MFUGAKU_INLINE void split_rows(F32 first, F32 second, F32& row0, F32& row1) {
  const uint64x2_t a = vreinterpretq_u64_f32(first), b = vreinterpretq_u64_f32(second);
  row0 = vreinterpretq_f32_u64(vzip1q_u64(a, b));
  row1 = vreinterpretq_f32_u64(vzip2q_u64(a, b));
}
MFUGAKU_INLINE void join_rows(F32 row0, F32 row1, F32& first, F32& second) { split_rows(row0, row1, first, second); }

}  // namespace
}  // namespace mfugaku::vec
