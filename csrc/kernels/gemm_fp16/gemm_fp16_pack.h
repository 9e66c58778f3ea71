// Packs a matrix of halves into panels, over the names of vec/fp16.h. See gemm_fp16.h.
#pragma once

#include "kernels/gemm/gemm_tile.h"

namespace mfugaku::kernels {
namespace {

// Vectors of SVE have at most so many halves.
constexpr int64_t kMostLanes16 = 128;

// The lanes of a panel that exist, and their memory.
struct HalfSource {
  const uint16_t* first;
  int64_t lane_stride, depth_stride, num_lanes, depth;
};

// Some lanes from `lane` and depths from `k` on, one by one; zeros for lanes that do not exist.
inline void pack_singly(const HalfSource& from, int64_t lane, int64_t num_lanes, int64_t k, int64_t panel_width,
                        uint16_t* packed) {
  for (; k < from.depth; ++k)
    for (int64_t i = lane; i < lane + num_lanes; ++i)
      packed[k * panel_width + i] =
          i < from.num_lanes ? from.first[i * from.lane_stride + k * from.depth_stride] : uint16_t{0};
}

// One element of eight lanes, which go into the panel as they lie.
MFUGAKU_INLINE void copy_eight(const uint16_t* from, uint16_t* to) { __builtin_memcpy(to, from, 8 * sizeof *to); }

// Eight lanes from `lane` on whose depth is contiguous: transposed by a perfect shuffle for each bit of eight.
template <typename Panel>
void pack_eight_rows(const HalfSource& from, int64_t lane, Panel panel_width, uint16_t* packed) {
  int64_t k = 0;
  const uint16_t* const p = from.first + lane * from.lane_stride;
  const int64_t width = lanes16(), row = from.lane_stride;
  for (; k + width <= from.depth; k += width) {
    F16 a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7;
    interleave(load16(p + k), load16(p + k + 4 * row), a0, a1);
    interleave(load16(p + k + row), load16(p + k + 5 * row), a2, a3);
    interleave(load16(p + k + 2 * row), load16(p + k + 6 * row), a4, a5);
    interleave(load16(p + k + 3 * row), load16(p + k + 7 * row), a6, a7);
    interleave(a0, a4, b0, b1);
    interleave(a1, a5, b2, b3);
    interleave(a2, a6, b4, b5);
    interleave(a3, a7, b6, b7);
    interleave(b0, b4, a0, a1);
    interleave(b1, b5, a2, a3);
    interleave(b2, b6, a4, a5);
    interleave(b3, b7, a6, a7);
    alignas(64) uint16_t buffer[8 * kMostLanes16];
    uint16_t* const to = panel_width == 8 ? packed + 8 * k : buffer;
    store16(to, a0), store16(to + width, a1), store16(to + 2 * width, a2), store16(to + 3 * width, a3);
    store16(to + 4 * width, a4), store16(to + 5 * width, a5), store16(to + 6 * width, a6);
    store16(to + 7 * width, a7);
    if (panel_width != 8) {
      uint16_t* column = packed + k * panel_width + lane;
#pragma GCC unroll 4
      for (int64_t i = 0; i < width; ++i, column += panel_width) copy_eight(buffer + 8 * i, column);
    }
  }
  pack_singly(from, lane, 8, k, panel_width, packed);
}

struct TilePanel {
  constexpr operator int64_t() const { return kTileRows; }
};

// Lanes are contiguous, and all of the panel exist.
inline void pack_lanes_of_tile(const HalfSource& from, uint16_t* packed) {
  const uint16_t* p = from.first;
#pragma GCC unroll 4
  for (int64_t k = 0; k < from.depth; ++k, p += from.depth_stride, packed += kTileRows) copy_eight(p, packed);
}
inline void pack_lanes(const HalfSource& from, uint16_t* packed) {
  const int64_t width = lanes16();
  const uint16_t* p = from.first;
  for (int64_t k = 0; k < from.depth; ++k, p += from.depth_stride, packed += 3 * width) {
    store16(packed, load16(p));
    store16(packed + width, load16(p + width));
    store16(packed + 2 * width, load16(p + 2 * width));
  }
}

template <bool is_a> void pack_half_panel(const HalfSource& from, uint16_t* packed) {
  const int64_t width = is_a ? kTileRows : 3 * lanes16();
  if (from.lane_stride == 1 && from.num_lanes == width)
    return is_a ? pack_lanes_of_tile(from, packed) : pack_lanes(from, packed);
  if (from.depth_stride != 1) return pack_singly(from, 0, width, 0, width, packed);
  int64_t lane = 0;
  for (; lane + 8 <= from.num_lanes; lane += 8) {
    if constexpr (is_a) pack_eight_rows(from, lane, TilePanel{}, packed);
    else pack_eight_rows(from, lane, width, packed);
  }
  if (lane < width) pack_singly(from, lane, width - lane, 0, width, packed);
}

template <bool is_a> void gemm_fp16_pack(const Fp16PackJob& job, int64_t begin, int64_t end) {
  const int64_t width = is_a ? kTileRows : 3 * lanes16(), num_panels = (job.num_lanes + width - 1) / width;
  for (int64_t index = begin; index < end; ++index) {
    const int64_t batch = index / num_panels, lane = index % num_panels * width;
    const HalfSource from = {job.matrix + batch * job.batch_stride + lane * job.lane_stride, job.lane_stride,
                             job.depth_stride, least(width, job.num_lanes - lane), job.depth};
    pack_half_panel<is_a>(from, job.packed + index * width * job.depth);
  }
}

}  // namespace
}  // namespace mfugaku::kernels
