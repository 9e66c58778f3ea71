// Packs a matrix into panels, over the names of vec/vec.h. See gemm.h.
#pragma once

#include <cstddef>

#include "kernels/gemm/gemm_tile.h"

namespace mfugaku::kernels {
namespace {

// Vectors of SVE have at most 64 floats.
constexpr int64_t kMostLanes = 64;
constexpr int64_t kGroup = 4;

// The lanes of a panel that exist, and their memory.
template <typename Format> struct PanelSource {
  const typename Format::Element* first;
  int64_t lane_stride, depth_stride, num_lanes, depth;
};

// One vector of a lane's depth; zeros for a lane that does not exist.
template <typename Format, typename Count>
MFUGAKU_INLINE F32 load_lane(const PanelSource<Format>& from, int64_t lane, int64_t k, Count count) {
  return lane < from.num_lanes ? load(Format{}, from.first + lane * from.lane_stride + k, count) : broadcast(0.0f);
}

// Vectors of lanes whose depth is contiguous, as [depth, lane]: a perfect shuffle of both halves for each bit of the
// number of lanes. Each vector of the result goes `stride` behind the one before it.
MFUGAKU_INLINE void interleave_four(F32 v0, F32 v1, F32 v2, F32 v3, float* out, int64_t stride) {
  F32 a0, a1, a2, a3, b0, b1, b2, b3;
  interleave(v0, v2, a0, a1);
  interleave(v1, v3, a2, a3);
  interleave(a0, a2, b0, b1);
  interleave(a1, a3, b2, b3);
  store(Float32{}, out, b0, All{});
  store(Float32{}, out + stride, b1, All{});
  store(Float32{}, out + 2 * stride, b2, All{});
  store(Float32{}, out + 3 * stride, b3, All{});
}
MFUGAKU_INLINE void interleave_eight(F32 v0, F32 v1, F32 v2, F32 v3, F32 v4, F32 v5, F32 v6, F32 v7, float* out,
                                     int64_t stride) {
  F32 a0, a1, a2, a3, a4, a5, a6, a7;
  interleave(v0, v4, a0, a1);
  interleave(v1, v5, a2, a3);
  interleave(v2, v6, a4, a5);
  interleave(v3, v7, a6, a7);
  // What is left is the shuffle of four, for each half.
  interleave_four(a0, a2, a4, a6, out, stride);
  interleave_four(a1, a3, a5, a7, out + 4 * stride, stride);
}

// The same of lanes in memory, from k on.
template <typename Format, typename Count>
MFUGAKU_INLINE void transpose_four(const PanelSource<Format>& from, int64_t lane, int64_t k, Count count, float* out,
                                   int64_t stride) {
  interleave_four(load_lane(from, lane, k, count), load_lane(from, lane + 1, k, count),
                  load_lane(from, lane + 2, k, count), load_lane(from, lane + 3, k, count), out, stride);
}
template <typename Format, typename Count>
MFUGAKU_INLINE void transpose_eight(const PanelSource<Format>& from, int64_t lane, int64_t k, Count count, float* out,
                                    int64_t stride) {
  interleave_eight(load_lane(from, lane, k, count), load_lane(from, lane + 1, k, count),
                   load_lane(from, lane + 2, k, count), load_lane(from, lane + 3, k, count),
                   load_lane(from, lane + 4, k, count), load_lane(from, lane + 5, k, count),
                   load_lane(from, lane + 6, k, count), load_lane(from, lane + 7, k, count), out, stride);
}
template <typename Format, typename Count>
MFUGAKU_INLINE void transpose_sixteen(const PanelSource<Format>& from, int64_t lane, int64_t k, Count count, float* out,
                                      int64_t stride) {
#define MFUGAKU_MIX(i)                                                                                            \
  F32 low##i, high##i;                                                                                            \
  interleave(load_lane(from, lane + (i), k, count), load_lane(from, lane + (i) + 8, k, count), low##i, high##i);
  MFUGAKU_MIX(0) MFUGAKU_MIX(1) MFUGAKU_MIX(2) MFUGAKU_MIX(3) MFUGAKU_MIX(4) MFUGAKU_MIX(5) MFUGAKU_MIX(6) MFUGAKU_MIX(7)
#undef MFUGAKU_MIX
  interleave_eight(low0, low1, low2, low3, low4, low5, low6, low7, out, stride);
  interleave_eight(high0, high1, high2, high3, high4, high5, high6, high7, out + 8 * stride, stride);
}

template <typename Format, typename Count>
MFUGAKU_INLINE void transpose_tile(const PanelSource<Format>& from, int64_t k, Count count, float* out) {
  if constexpr (kTileRows == 8) transpose_eight(from, 0, k, count, out, lanes());
  else transpose_four(from, 0, k, count, out, lanes());
}

// Depth is contiguous, and the panel is a tile wide: it is what the shuffles give.
template <typename Format> void pack_tile(const PanelSource<Format>& from, float* packed) {
  const int64_t width = lanes();
  int64_t k = 0;
  for (; k + width <= from.depth; k += width) transpose_tile(from, k, All{}, packed + k * kTileRows);
  if (k == from.depth) return;
  alignas(64) float rest[kTileRows * kMostLanes];
  transpose_tile(from, k, First{from.depth - k}, rest);
  __builtin_memcpy(packed + k * kTileRows, rest, static_cast<size_t>((from.depth - k) * kTileRows) * sizeof(float));
}

// Depth is contiguous, and the panel is a number of squares wide, of sixteen lanes or eight, as many as a vector has.
template <typename Format, typename Count>
MFUGAKU_INLINE void transpose_square(const PanelSource<Format>& from, int64_t lane, int64_t k, Count count, float* out,
                                     int64_t stride) {
  if (lanes() == 16) transpose_sixteen(from, lane, k, count, out, stride);
  else transpose_eight(from, lane, k, count, out, stride);
}
template <typename Format> void pack_squares(const PanelSource<Format>& from, int64_t panel_width, float* packed) {
  const int64_t width = lanes();
  for (int64_t lane = 0; lane < panel_width; lane += width) {
    int64_t k = 0;
    for (; k + width <= from.depth; k += width)
      transpose_square(from, lane, k, All{}, packed + k * panel_width + lane, panel_width);
    if (k == from.depth) continue;
    alignas(64) float rest[16 * 16];
    transpose_square(from, lane, k, First{from.depth - k}, rest, width);
    for (const float* row = rest; k < from.depth; ++k, row += width)
      __builtin_memcpy(packed + k * panel_width + lane, row, static_cast<size_t>(width) * sizeof(float));
  }
}

// Depth is contiguous, and the panel is wider than a tile: groups of lanes are transposed, through a buffer.
template <typename Format> void pack_rows(const PanelSource<Format>& from, int64_t panel_width, float* packed) {
  alignas(64) float transposed[kGroup * kMostLanes];
  const int64_t width = lanes();
  for (int64_t lane = 0; lane < panel_width; lane += kGroup)
    for (int64_t k = 0; k < from.depth; k += width) {
      const int64_t count = least(width, from.depth - k);
      if (count == width) transpose_four(from, lane, k, All{}, transposed, width);
      else transpose_four(from, lane, k, First{count}, transposed, width);
      float* to = packed + k * panel_width + lane;
      for (int64_t i = 0; i < count; ++i, to += panel_width)
        __builtin_memcpy(to, transposed + kGroup * i, kGroup * sizeof(float));
    }
}

// Lanes are contiguous, and a vector is two tiles wide, which all exist: two panels, one behind the other, for each pair.
// A few elements of depth at a time: what is left of their lines of memory is in the cache for the next pair.
constexpr int64_t kTwoTiles = 2 * kTileRows;
template <typename Format> void pack_pairs_of_tiles(const PanelSource<Format>& from, int64_t num_pairs, float* packed) {
  constexpr int64_t kLines = 32;
  const int64_t panel = kTileRows * from.depth;
  for (int64_t begin = 0; begin < from.depth; begin += kLines)
    for (int64_t pair = 0; pair < num_pairs; ++pair) {
      const auto* p = from.first + begin * from.depth_stride + pair * kTwoTiles;
      float* to = packed + 2 * pair * panel + begin * kTileRows;
      for (int64_t left = least(kLines, from.depth - begin); left != 0; --left) {
        store_apart(to, to + panel, load(Format{}, p, All{}));
        p += from.depth_stride;
        to += kTileRows;
      }
    }
}

// Lanes are contiguous, and all of the panel exist.
template <typename Format, typename Count> MFUGAKU_INLINE void pack_whole_columns(const PanelSource<Format>& from,
                                                                                  int64_t panel_width, Count count,
                                                                                  float* packed) {
  for (int64_t k = 0; k < from.depth; ++k)
    for (int64_t lane = 0; lane < panel_width; lane += lanes())
      store(Float32{}, packed + k * panel_width + lane,
            load(Format{}, from.first + k * from.depth_stride + lane, count), count);
}

// Lanes are contiguous.
template <typename Format> void pack_columns(const PanelSource<Format>& from, int64_t panel_width, float* packed) {
  const int64_t width = lanes();
  if (from.num_lanes == panel_width && panel_width % width == 0)
    return pack_whole_columns(from, panel_width, All{}, packed);
  if (from.num_lanes == panel_width && panel_width < width)
    return pack_whole_columns(from, panel_width, First{panel_width}, packed);
  for (int64_t k = 0; k < from.depth; ++k)
    for (int64_t lane = 0; lane < panel_width; lane += width)
      store_part(Float32{}, packed + k * panel_width + lane,
                 load_part(Format{}, from.first + k * from.depth_stride + lane, from.num_lanes - lane),
                 panel_width - lane);
}

template <typename Format> void pack_any(const PanelSource<Format>& from, int64_t panel_width, float* packed) {
  for (int64_t k = 0; k < from.depth; ++k)
    for (int64_t lane = 0; lane < panel_width; ++lane) {
      const F32 value = lane < from.num_lanes
                            ? load(Format{}, from.first + lane * from.lane_stride + k * from.depth_stride, First{1})
                            : broadcast(0.0f);
      store(Float32{}, packed + k * panel_width + lane, value, First{1});
    }
}

template <typename Format> void pack_panel(const PanelSource<Format>& from, int64_t panel_width, float* packed) {
  if (from.depth_stride == 1 && panel_width == kTileRows) pack_tile(from, packed);
  else if (from.depth_stride == 1 && (lanes() == 8 || lanes() == 16) && panel_width % lanes() == 0)
    pack_squares(from, panel_width, packed);
  else if (from.depth_stride == 1 && panel_width % kGroup == 0) pack_rows(from, panel_width, packed);
  else if (from.lane_stride == 1) pack_columns(from, panel_width, packed);
  else pack_any(from, panel_width, packed);
}

}  // namespace
}  // namespace mfugaku::kernels
