// The source of the gemm kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/gemm_pack.h"
#include "kernels/gemm/gemm_tile.h"

namespace mfugaku::kernels {
namespace {

template <typename Format, bool is_a> void gemm_pack(const GemmPackJob& job, int64_t begin, int64_t end) {
  const int64_t width = is_a ? kTileRows : tile_columns();
  const int64_t num_panels = (job.num_lanes + width - 1) / width;
  const bool by_two = is_a && job.lane_stride == 1 && lanes() == kTwoTiles;
  for (int64_t index = begin; index < end; ++index) {
    const int64_t batch = index / num_panels, lane = index % num_panels * width, left = job.num_lanes - lane;
    const auto* const first =
        static_cast<const typename Format::Element*>(job.matrix) + batch * job.batch_stride + lane * job.lane_stride;
    const PanelSource<Format> from = {first, job.lane_stride, job.depth_stride, least(width, left), job.depth};
    float* const packed = job.packed + index * width * job.depth;
    if (by_two && left >= kTwoTiles && index + 1 < end) {
      pack_two_tiles(from, packed);
      ++index;
    } else {
      pack_panel(from, width, packed);
    }
  }
}

// What a tile computes: here one chain of multiply-adds for each element.
struct ChainOfProducts {
  static constexpr int64_t kLeastDepth = 1;

  template <typename Before, typename After, typename Part>
  MFUGAKU_INLINE static void run(const float* a, const float* b, int64_t depth, TileSide<Before> before,
                                 TileSide<After> after, float alpha, Part part) {
    run_tile(a, PanelStep{}, b, depth, before, after, alpha, part);
  }
};

template <typename Format, typename Products> struct GemmTile {
  using Element = typename Format::Element;
  const GemmTileJob& job;
  const float* a;
  const float* b;
  Element* out;
  float* sums;

  template <typename Part> void run(Part part) const {
    const TileSide<Format> in_out = {out, job.out_row_stride}, no_start = {nullptr, 0};
    const TileSide<Float32> in_sums = {sums, job.sums_row_stride};
    if (job.is_first && job.is_last)
      Products::run(a, b, job.depth, job.accumulate ? in_out : no_start, in_out, job.alpha, part);
    else if (job.is_first)
      Products::run(a, b, job.depth, job.accumulate ? in_out : no_start, in_sums, 1.0f, part);
    else if (job.is_last) Products::run(a, b, job.depth, in_sums, in_out, job.alpha, part);
    else Products::run(a, b, job.depth, in_sums, in_sums, 1.0f, part);
  }
};

template <typename Format, typename Products = ChainOfProducts>
void gemm_multiply(const GemmTileJob& job, int64_t begin, int64_t end) {
  const int64_t width = tile_columns();
  int64_t room = job.depth;
  if constexpr (Products::kLeastDepth > 1) room = room < Products::kLeastDepth ? Products::kLeastDepth : room;
  const int64_t num_row_tiles = (job.rows + kTileRows - 1) / kTileRows, num_panels = (job.columns + width - 1) / width;
  for (int64_t index = begin; index < end; ++index) {
    const int64_t panel = index / num_row_tiles, row = index % num_row_tiles * kTileRows;
    const int64_t batch = panel / num_panels, column = panel % num_panels * width;
    const GemmTile<Format, Products> tile = {
        job,
        job.a + (batch * num_row_tiles * kTileRows + row) * room,
        job.b + panel * width * room,
        static_cast<typename Format::Element*>(job.out) + batch * job.out_batch_stride + row * job.out_row_stride +
            column,
        job.sums + batch * job.sums_batch_stride + row * job.sums_row_stride + column,
    };
    const int64_t rows = least(kTileRows, job.rows - row), columns = least(width, job.columns - column);
    if (rows == kTileRows && columns == width) tile.run(WholeTile{});
    else tile.run(PartOfTile{rows, columns});
  }
}

constexpr GemmKernels kGemm = {
    kTileRows,
    tile_columns,
    {gemm_pack<Float32, true>, gemm_pack<BFloat16, true>, gemm_pack<Float16, true>},
    {gemm_pack<Float32, false>, gemm_pack<BFloat16, false>, gemm_pack<Float16, false>},
    {gemm_multiply<Float32>, gemm_multiply<BFloat16>, gemm_multiply<Float16>},
};

}  // namespace
}  // namespace mfugaku::kernels
