// A whole matrix product from the kernels of gemm.h: parts of C, for each of them slices of depth, in each of these first
// packing, then tiles.
#pragma once

#include <algorithm>

#include "kernels/gemm/gemm.h"

namespace mfugaku::kernels {

struct GemmOperand {
  const void* data;
  Storage storage;
  int64_t batch_stride, row_stride, column_stride;  // in elements
};

// out[i] = alpha * (out[i] + a[i] b[i]) for `batches` matrices, without the out[i] inside unless `accumulate`. out has
// contiguous rows and overlaps neither a nor b.
struct GemmProblem {
  int64_t batches, rows, columns, depth;
  GemmOperand a, b;  // [rows, depth], [depth, columns]
  void* out;
  Storage out_storage;
  int64_t out_batch_stride, out_row_stride;
  float alpha;
  bool accumulate;
};

class GemmPlan {
 public:
  GemmPlan(const GemmKernels& kernels, const GemmProblem& problem)
      : kernels_(kernels),
        problem_(problem),
        width_(kernels.tile_columns()),
        depth_(even_part(problem.depth, kernels.slice_depth, kDepthUnit)) {
    const int64_t lane_bytes = std::max<int64_t>(1, problem.batches * depth_) * static_cast<int64_t>(sizeof(float));
    rows_ = even_part(problem.rows, kernels.packed_bytes / lane_bytes, kernels.tile_rows);
    columns_ = even_part(problem.columns, kernels.packed_bytes / lane_bytes, width_);
    const int64_t lane_floats = problem.batches * std::max<int64_t>(depth_, kernels.least_depth);
    floats_a_ = aligned(lane_floats * divide_up(rows_, kernels.tile_rows) * kernels.tile_rows);
    floats_b_ = aligned(lane_floats * divide_up(columns_, width_) * width_);
    const bool needs_sums = problem.out_storage != Storage::Float32 && problem.depth > depth_;
    floats_sums_ = needs_sums ? problem.batches * rows_ * columns_ : 0;
  }

  // Floats of memory that run() wants, aligned to 64 bytes at best.
  int64_t workspace() const { return floats_a_ + floats_b_ + floats_sums_; }

  // `parallel(count, grain, body)` calls body(begin, end) for all of [0, count), on any threads, in ranges of `grain`
  // or more, and returns when all have ended.
  template <typename Parallel> void run(float* workspace, const Parallel& parallel) const {
    if (problem_.batches == 0) return;
    for (int64_t row = 0; row < problem_.rows; row += rows_)
      for (int64_t column = 0; column < problem_.columns; column += columns_) {
        const GemmProblem part = part_at(row, column);
        for (int64_t k = 0; k == 0 || k < part.depth; k += std::max<int64_t>(1, depth_))
          run_slice(part, k, workspace, parallel);
      }
  }

 private:
  // Lanes that are worth a thread, and tiles.
  static constexpr int64_t kPackGrain = 64, kTileGrain = 2;
  static constexpr int64_t kDepthUnit = 64;

  static int64_t aligned(int64_t floats) { return (floats + 15) / 16 * 16; }
  static int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }
  static int64_t bytes_of(Storage storage) { return storage == Storage::Float32 ? 4 : 2; }

  // The size of equal parts of at most `most`, in whole units; all of it where one is enough.
  static int64_t even_part(int64_t total, int64_t most, int64_t unit) {
    most = std::max(most / unit, int64_t{1}) * unit;
    return total <= most ? total : divide_up(divide_up(total, divide_up(total, most)), unit) * unit;
  }

  GemmProblem part_at(int64_t row, int64_t column) const {
    GemmProblem part = problem_;
    const auto move = [](const void* data, Storage storage, int64_t elements) {
      return static_cast<const char*>(data) + elements * bytes_of(storage);
    };
    part.rows = std::min(rows_, problem_.rows - row);
    part.columns = std::min(columns_, problem_.columns - column);
    part.a.data = move(part.a.data, part.a.storage, row * part.a.row_stride);
    part.b.data = move(part.b.data, part.b.storage, column * part.b.column_stride);
    part.out = const_cast<char*>(move(part.out, part.out_storage, row * part.out_row_stride + column));
    return part;
  }

  GemmPackJob pack_job(const GemmOperand& matrix, bool is_a, int64_t num_lanes, int64_t k, int64_t depth,
                       float* packed) const {
    const int64_t lane = is_a ? matrix.row_stride : matrix.column_stride;
    const int64_t step = is_a ? matrix.column_stride : matrix.row_stride;
    return {static_cast<const char*>(matrix.data) + k * step * bytes_of(matrix.storage),
            matrix.batch_stride,
            lane,
            step,
            num_lanes,
            depth,
            packed};
  }

  template <typename Parallel>
  void run_slice(const GemmProblem& part, int64_t k, float* workspace, const Parallel& parallel) const {
    const int64_t depth = std::min(depth_, part.depth - k);
    float *const packed_a = workspace, *const packed_b = packed_a + floats_a_, *const sums = packed_b + floats_b_;
    const GemmPackJob a = pack_job(part.a, true, part.rows, k, depth, packed_a);
    const GemmPackJob b = pack_job(part.b, false, part.columns, k, depth, packed_b);
    const int64_t count_a = part.batches * divide_up(part.rows, kernels_.tile_rows);
    const int64_t panels_b = divide_up(part.columns, width_), count_b = part.batches * panels_b;
    const auto pack = [&](GemmKernels::Pack kernel, const GemmPackJob& job, int64_t count, int64_t width) {
      parallel(count, std::max<int64_t>(1, kPackGrain / width),
               [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
    };
    pack(kernels_.pack_a[static_cast<int>(part.a.storage)], a, count_a, kernels_.tile_rows);
    pack(kernels_.pack_b[static_cast<int>(part.b.storage)], b, count_b, width_);

    const bool own_sums = floats_sums_ > 0;
    const int64_t panel_bytes = std::max<int64_t>(1, depth) * width_ * static_cast<int64_t>(sizeof(float));
    const GemmTileJob job = {packed_a,
                             packed_b,
                             part.rows,
                             part.columns,
                             depth,
                             even_part(panels_b, kernels_.block_bytes / panel_bytes, 1),
                             part.out,
                             part.out_batch_stride,
                             part.out_row_stride,
                             own_sums ? sums : static_cast<float*>(part.out),
                             own_sums ? part.rows * part.columns : part.out_batch_stride,
                             own_sums ? part.columns : part.out_row_stride,
                             k == 0,
                             k + depth >= part.depth,
                             part.accumulate,
                             part.alpha};
    const auto multiply = kernels_.multiply[static_cast<int>(part.out_storage)];
    parallel(count_a * panels_b, kTileGrain, [&](int64_t begin, int64_t end) { multiply(job, begin, end); });
  }

  const GemmKernels& kernels_;
  const GemmProblem& problem_;
  int64_t width_, depth_, rows_, columns_;  // of a tile, a slice and a part
  int64_t floats_a_, floats_b_, floats_sums_;
};

}  // namespace mfugaku::kernels
