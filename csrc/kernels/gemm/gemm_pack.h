// Packs a matrix into panels, over the names of vec/vec.h. See gemm.h.
#pragma once

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

// Vectors of `kRows` lanes of the matrix, whose depth is contiguous, as kRows vectors of [depth, lane]: a perfect shuffle of
// both halves for each bit of the number of rows.
template <typename Format, typename Count>
MFUGAKU_INLINE void load_transposed(const PanelSource<Format>& from, int64_t lane, int64_t k, Count count, float* out) {
  const auto row = [&](int64_t r) MFUGAKU_INLINE_LAMBDA {
    return lane + r < from.num_lanes ? load(Format{}, from.first + (lane + r) * from.lane_stride + k, count)
                                     : broadcast(0.0f);
  };
  F32 a0, a1, a2, a3, b0, b1, b2, b3;
  interleave(row(0), row(2), a0, a1);
  interleave(row(1), row(3), a2, a3);
  interleave(a0, a2, b0, b1);
  interleave(a1, a3, b2, b3);
  const int64_t width = lanes();
  store(Float32{}, out, b0, All{});
  store(Float32{}, out + width, b1, All{});
  store(Float32{}, out + 2 * width, b2, All{});
  store(Float32{}, out + 3 * width, b3, All{});
}

// Depth is contiguous: groups of lanes are transposed, through a buffer since a panel is wider than a group.
template <typename Format> void pack_rows(const PanelSource<Format>& from, int64_t panel_width, float* packed) {
  alignas(64) float transposed[kGroup * kMostLanes];
  const int64_t width = lanes();
  for (int64_t lane = 0; lane < panel_width; lane += kGroup)
    for (int64_t k = 0; k < from.depth; k += width) {
      const int64_t count = from.depth - k < width ? from.depth - k : width;
      if (count == width)
        load_transposed(from, lane, k, All{}, transposed);
      else
        load_transposed(from, lane, k, First{count}, transposed);
      float* to = packed + k * panel_width + lane;
      for (int64_t i = 0; i < count; ++i, to += panel_width)
        __builtin_memcpy(to, transposed + kGroup * i, kGroup * sizeof(float));
    }
}

// Lanes are contiguous.
template <typename Format> void pack_columns(const PanelSource<Format>& from, int64_t panel_width, float* packed) {
  const int64_t width = lanes();
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
  if (from.depth_stride == 1 && panel_width % kGroup == 0)
    pack_rows(from, panel_width, packed);
  else if (from.lane_stride == 1)
    pack_columns(from, panel_width, packed);
  else
    pack_any(from, panel_width, packed);
}

}  // namespace
}  // namespace mfugaku::kernels
