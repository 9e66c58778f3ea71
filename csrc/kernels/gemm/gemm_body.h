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
  for (int64_t index = begin; index < end;) {
    const int64_t batch = index / num_panels, lane = index % num_panels * width, left = job.num_lanes - lane;
    const auto* const first =
        static_cast<const typename Format::Element*>(job.matrix) + batch * job.batch_stride + lane * job.lane_stride;
    const PanelSource<Format> from = {first, job.lane_stride, job.depth_stride, least(width, left), job.depth};
    float* const packed = job.packed + index * width * job.depth;
    const int64_t num_pairs = by_two ? least(left / kTwoTiles, (end - index) / 2) : 0;
    if (num_pairs > 0) {
      pack_pairs_of_tiles(from, num_pairs, packed);
      index += 2 * num_pairs;
    } else {
      pack_panel(from, width, packed);
      ++index;
    }
  }
}

// What a tile computes: here one chain of multiply-adds for each element.
struct ChainOfProducts {
  static constexpr int64_t kLeastDepth = 1;

  template <typename Before, typename After, typename Part>
  MFUGAKU_INLINE static void run(const float* a, const float* b, int64_t depth, TileSide<Before> before,
                                 TileSide<After> after, float alpha, Part part, Ahead ahead) {
    run_tile(a, PanelStep{}, b, depth, before, after, alpha, part, ahead);
  }
};

// The tiles in their order.
class TileWalk {
 public:
  TileWalk(const GemmTileJob& job, int64_t index)
      : num_rows_((job.rows + kTileRows - 1) / kTileRows),
        num_panels_((job.columns + tile_columns() - 1) / tile_columns()),
        panels_in_block_(job.panels_in_block) {
    batch_ = index / (num_rows_ * num_panels_);
    index -= batch_ * num_rows_ * num_panels_;
    begin_block(index / (num_rows_ * panels_in_block_) * panels_in_block_);
    index -= first_panel_ * num_rows_;
    row_ = index / (end_panel_ - first_panel_);
    panel_ = first_panel_ + index % (end_panel_ - first_panel_);
  }

  void advance() {
    if (++panel_ < end_panel_) return;
    panel_ = first_panel_;
    if (++row_ < num_rows_) return;
    row_ = 0;
    if (end_panel_ == num_panels_) ++batch_;
    begin_block(end_panel_ == num_panels_ ? 0 : end_panel_);
    panel_ = first_panel_;
  }

  int64_t batch() const { return batch_; }
  int64_t row() const { return row_ * kTileRows; }
  int64_t column() const { return panel_ * tile_columns(); }
  // Lanes of panels before this one, of all matrices.
  int64_t lane_of_a() const { return (batch_ * num_rows_ + row_) * kTileRows; }
  int64_t lane_of_b() const { return (batch_ * num_panels_ + panel_) * tile_columns(); }
  // Of the tiles that are done side by side.
  int64_t number_in_block() const { return panel_ - first_panel_; }
  int64_t panels_in_block() const { return end_panel_ - first_panel_; }

 private:
  void begin_block(int64_t panel) {
    first_panel_ = panel;
    end_panel_ = least(panel + panels_in_block_, num_panels_);
  }

  int64_t num_rows_, num_panels_, panels_in_block_;
  int64_t batch_, first_panel_, end_panel_, row_, panel_;
};

template <typename Format, typename Products> struct GemmTile {
  using Element = typename Format::Element;
  const GemmTileJob& job;
  const float* a;
  const float* b;
  Element* out;
  float* sums;

  GemmTile(const GemmTileJob& job, const TileWalk& walk, int64_t room)
      : job(job),
        a(job.a + walk.lane_of_a() * room),
        b(job.b + walk.lane_of_b() * room),
        out(static_cast<Element*>(job.out) + walk.batch() * job.out_batch_stride + walk.row() * job.out_row_stride +
            walk.column()),
        sums(job.sums + walk.batch() * job.sums_batch_stride + walk.row() * job.sums_row_stride + walk.column()) {}

  // What is to come: C's elements, and this tile's part of the next rows of A.
  Ahead ahead(const GemmTile& next, const TileWalk& walk) const {
    if (!job.is_first) return ahead_of(next.sums, job.sums_row_stride, walk);
    if (job.accumulate) return ahead_of(next.out, job.out_row_stride, walk);
    return job.is_last ? ahead_of(out, job.out_row_stride, walk) : ahead_of(sums, job.sums_row_stride, walk);
  }

  template <typename Part> void run(Part part, Ahead ahead) const {
    const TileSide<Format> in_out = {out, job.out_row_stride}, no_start = {nullptr, 0};
    const TileSide<Float32> in_sums = {sums, job.sums_row_stride};
    if (job.is_first && job.is_last)
      Products::run(a, b, job.depth, job.accumulate ? in_out : no_start, in_out, job.alpha, part, ahead);
    else if (job.is_first)
      Products::run(a, b, job.depth, job.accumulate ? in_out : no_start, in_sums, 1.0f, part, ahead);
    else if (job.is_last) Products::run(a, b, job.depth, in_sums, in_out, job.alpha, part, ahead);
    else Products::run(a, b, job.depth, in_sums, in_sums, 1.0f, part, ahead);
  }

 private:
  template <typename T> Ahead ahead_of(const T* rows, int64_t stride, const TileWalk& walk) const {
    constexpr auto kBytes = static_cast<int64_t>(sizeof(T)), kFloatBytes = static_cast<int64_t>(sizeof(float));
    const int64_t panel = kTileRows * job.depth, part = (panel + walk.panels_in_block() - 1) / walk.panels_in_block();
    return {reinterpret_cast<const char*>(rows), stride * kBytes, tile_columns() * kBytes,
            reinterpret_cast<const char*>(a + panel + walk.number_in_block() * part), part * kFloatBytes};
  }
};

template <typename Format, typename Products = ChainOfProducts>
void gemm_multiply(const GemmTileJob& job, int64_t begin, int64_t end) {
  const int64_t width = tile_columns();
  int64_t room = job.depth;
  if constexpr (Products::kLeastDepth > 1) room = room < Products::kLeastDepth ? Products::kLeastDepth : room;
  TileWalk walk(job, begin);
  for (int64_t index = begin; index < end; ++index) {
    const GemmTile<Format, Products> tile(job, walk, room);
    const int64_t rows = least(kTileRows, job.rows - walk.row()), columns = least(width, job.columns - walk.column());
    const TileWalk here = walk;
    walk.advance();
    Ahead ahead = {};
    if constexpr (kLooksAhead) ahead = tile.ahead({job, walk, room}, here);
    with_part<false>(rows, columns, [&](auto part) { tile.run(part, ahead); });
  }
}

constexpr GemmKernels kGemm = {
    kTileRows,
    tile_columns,
    {gemm_pack<Float32, true>, gemm_pack<BFloat16, true>, gemm_pack<Float16, true>},
    {gemm_pack<Float32, false>, gemm_pack<BFloat16, false>, gemm_pack<Float16, false>},
    {gemm_multiply<Float32>, gemm_multiply<BFloat16>, gemm_multiply<Float16>},
};

constexpr GemmKernels with_slices(GemmKernels kernels, int64_t depth, int64_t block_bytes) {
  kernels.slice_depth = depth;
  kernels.block_bytes = block_bytes;
  return kernels;
}

}  // namespace
}  // namespace mfugaku::kernels
