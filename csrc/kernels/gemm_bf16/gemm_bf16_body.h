// The source of the gemm_bf16 kernels over the names of vec/sve_bf16.h. Panels hold bfloat16, [depth / 4, lane, 4] with
// zeros behind the last depth, in the room that gemm.h has for float32. A tile is four pairs of rows by six vectors of
// pairs of columns, as wide as that of gemm_tile.h.
#pragma once

#include <arm_neon.h>

#define MFUGAKU_TILE_ROWS 8
#include "kernels/gemm/gemm_body.h"
#include "kernels/gemm_bf16/gemm_bf16.h"

namespace mfugaku::kernels {
namespace {

#define MFUGAKU_EACH_PAIR(DO) DO(0, 0, 1) DO(1, 2, 3) DO(2, 4, 5) DO(3, 6, 7)

struct ProductsOfFours {
  // Four bfloat16 need the room of two float32.
  static constexpr int64_t kLeastDepth = 2;

  template <typename Before, typename After, typename Part>
  static void run(const float* panel_a, const float* panel_b, int64_t depth, TileSide<Before> before,
                  TileSide<After> after, float alpha, Part part, Ahead) {
    const auto* a = reinterpret_cast<const uint16_t*>(panel_a);
    const auto* b = reinterpret_cast<const uint16_t*>(panel_b);
    const int64_t width = lanes_of_fours();
    const F32 zero = broadcast(0.0f);
#define MFUGAKU_ZERO(p, r, s) \
  F32 c##p##0 = zero, c##p##1 = zero, c##p##2 = zero, c##p##3 = zero, c##p##4 = zero, c##p##5 = zero;
    MFUGAKU_EACH_PAIR(MFUGAKU_ZERO)
#undef MFUGAKU_ZERO
    if (before.first != nullptr) {
      const auto get = [&](int64_t row, int64_t i) {
        return row < part.rows() ? part.get(Before{}, before.first + row * before.row_stride, i) : zero;
      };
#define MFUGAKU_BEGIN(p, r, s)                           \
  join_rows(get(r, 0), get(s, 0), c##p##0, c##p##1);     \
  join_rows(get(r, 1), get(s, 1), c##p##2, c##p##3);     \
  join_rows(get(r, 2), get(s, 2), c##p##4, c##p##5);
      MFUGAKU_EACH_PAIR(MFUGAKU_BEGIN)
#undef MFUGAKU_BEGIN
    }
    for (int64_t k = 0; k < depth; k += 4, a += 4 * kTileRows, b += 6 * width) {
      const Fours b0 = load_fours(b), b1 = load_fours(b + width), b2 = load_fours(b + 2 * width);
      const Fours b3 = load_fours(b + 3 * width), b4 = load_fours(b + 4 * width), b5 = load_fours(b + 5 * width);
#define MFUGAKU_ADD(p, r, s)                                                       \
  {                                                                                \
    const Fours x = repeat_fours(a + 4 * r);                                       \
    add_products_of_fours(c##p##0, x, b0), add_products_of_fours(c##p##1, x, b1);  \
    add_products_of_fours(c##p##2, x, b2), add_products_of_fours(c##p##3, x, b3);  \
    add_products_of_fours(c##p##4, x, b4), add_products_of_fours(c##p##5, x, b5);  \
  }
      MFUGAKU_EACH_PAIR(MFUGAKU_ADD)
#undef MFUGAKU_ADD
    }
    const F32 factor = broadcast(alpha);
    const auto put = [&](int64_t row, int64_t i, F32 v) {
      if (row < part.rows()) part.put(After{}, after.first + row * after.row_stride, i, mul(factor, v));
    };
    const auto put_two = [&](int64_t row, int64_t i, F32 first, F32 second) {
      F32 x, y;
      split_rows(first, second, x, y);
      put(row, i, x);
      put(row + 1, i, y);
    };
#define MFUGAKU_END(p, r, s) \
  put_two(r, 0, c##p##0, c##p##1), put_two(r, 1, c##p##2, c##p##3), put_two(r, 2, c##p##4, c##p##5);
    MFUGAKU_EACH_PAIR(MFUGAKU_END)
#undef MFUGAKU_END
  }
};

template <bool is_a> void pack_fours(const GemmPackJob& job, int64_t begin, int64_t end) {
  const int64_t width = is_a ? kTileRows : tile_columns(), num_panels = (job.num_lanes + width - 1) / width;
  const int64_t room = job.depth < ProductsOfFours::kLeastDepth ? ProductsOfFours::kLeastDepth : job.depth;
  for (int64_t index = begin; index < end; ++index) {
    const int64_t batch = index / num_panels, first = index % num_panels * width;
    const auto* const from =
        static_cast<const uint16_t*>(job.matrix) + batch * job.batch_stride + first * job.lane_stride;
    auto* to = reinterpret_cast<uint16_t*>(job.packed + index * width * room);
    const int64_t num_lanes = least(width, job.num_lanes - first);
    for (int64_t k = 0; k < job.depth; k += 4) {
      const uint16_t* const p = from + k * job.depth_stride;
      const bool whole = k + 4 <= job.depth;
      for (int64_t lane = 0; lane < width;) {
        if (whole && job.lane_stride == 1 && lane + 8 <= num_lanes) {
          const uint16_t* const q = p + lane;
          const int64_t step = job.depth_stride;
          const uint16x8x4_t eight = {
              {vld1q_u16(q), vld1q_u16(q + step), vld1q_u16(q + 2 * step), vld1q_u16(q + 3 * step)}};
          vst4q_u16(to, eight);
          lane += 8, to += 32;
          continue;
        }
        const uint16_t* const q = p + lane * job.lane_stride;
        if (whole && job.depth_stride == 1 && lane < num_lanes) {
          __builtin_memcpy(to, q, 4 * sizeof *to);
        } else {
          for (int64_t i = 0; i < 4; ++i)
            to[i] = lane < num_lanes && k + i < job.depth ? q[i * job.depth_stride] : uint16_t{0};
        }
        ++lane, to += 4;
      }
    }
  }
}

constexpr GemmBf16Kernels kGemmBf16 = {{
    kTileRows,
    tile_columns,
    {nullptr, pack_fours<true>, nullptr},
    {nullptr, pack_fours<false>, nullptr},
    {gemm_multiply<Float32, ProductsOfFours>, gemm_multiply<BFloat16, ProductsOfFours>, nullptr},
    ProductsOfFours::kLeastDepth,
}};

}  // namespace
}  // namespace mfugaku::kernels
