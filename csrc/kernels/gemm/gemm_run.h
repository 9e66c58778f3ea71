// A whole matrix product from the kernels of gemm.h: slices of depth, in each of them first packing, then tiles.
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
      : kernels_(kernels), problem_(problem), depth_(std::min(problem.depth, kGemmDepth)) {
    panels_a_ = (problem.rows + kernels.tile_rows - 1) / kernels.tile_rows;
    panels_b_ = (problem.columns + kernels.tile_columns() - 1) / kernels.tile_columns();
    const int64_t lane_floats = problem.batches * std::max<int64_t>(depth_, kernels.least_depth);
    floats_a_ = aligned(lane_floats * panels_a_ * kernels.tile_rows);
    floats_b_ = aligned(lane_floats * panels_b_ * kernels.tile_columns());
    const bool needs_sums = problem.out_storage != Storage::Float32 && problem.depth > kGemmDepth;
    floats_sums_ = needs_sums ? problem.batches * problem.rows * problem.columns : 0;
  }

  // Floats of memory that run() wants, aligned to 64 bytes at best.
  int64_t workspace() const { return floats_a_ + floats_b_ + floats_sums_; }

  // `parallel(count, grain, body)` calls body(begin, end) for all of [0, count), on any threads, in ranges of `grain`
  // or more, and returns when all have ended.
  template <typename Parallel> void run(float* workspace, const Parallel& parallel) const {
    if (problem_.batches == 0 || problem_.rows == 0 || problem_.columns == 0) return;
    for (int64_t k = 0; k == 0 || k < problem_.depth; k += kGemmDepth) run_slice(k, workspace, parallel);
  }

 private:
  // Lanes that are worth a thread, and tiles.
  static constexpr int64_t kPackGrain = 64, kTileGrain = 2;

  static int64_t aligned(int64_t floats) { return (floats + 15) / 16 * 16; }

  GemmPackJob pack_job(const GemmOperand& matrix, bool is_a, int64_t k, int64_t depth, float* packed) const {
    const int64_t lane = is_a ? matrix.row_stride : matrix.column_stride;
    const int64_t step = is_a ? matrix.column_stride : matrix.row_stride;
    const int64_t width = matrix.storage == Storage::Float32 ? 4 : 2;
    return {static_cast<const char*>(matrix.data) + k * step * width,
            matrix.batch_stride,
            lane,
            step,
            is_a ? problem_.rows : problem_.columns,
            depth,
            packed};
  }

  template <typename Parallel> void run_slice(int64_t k, float* workspace, const Parallel& parallel) const {
    const int64_t depth = std::min(kGemmDepth, problem_.depth - k);
    float *const packed_a = workspace, *const packed_b = packed_a + floats_a_, *const sums = packed_b + floats_b_;
    const GemmPackJob a = pack_job(problem_.a, true, k, depth, packed_a);
    const GemmPackJob b = pack_job(problem_.b, false, k, depth, packed_b);
    const int64_t count_a = problem_.batches * panels_a_, count_b = problem_.batches * panels_b_;
    const auto pack = [&](GemmKernels::Pack kernel, const GemmPackJob& job, int64_t count, int64_t width) {
      parallel(count, std::max<int64_t>(1, kPackGrain / width),
               [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
    };
    pack(kernels_.pack_a[static_cast<int>(problem_.a.storage)], a, count_a, kernels_.tile_rows);
    pack(kernels_.pack_b[static_cast<int>(problem_.b.storage)], b, count_b, kernels_.tile_columns());

    const bool own_sums = floats_sums_ > 0;
    const GemmTileJob job = {packed_a,
                             packed_b,
                             problem_.rows,
                             problem_.columns,
                             depth,
                             problem_.out,
                             problem_.out_batch_stride,
                             problem_.out_row_stride,
                             own_sums ? sums : static_cast<float*>(problem_.out),
                             own_sums ? problem_.rows * problem_.columns : problem_.out_batch_stride,
                             own_sums ? problem_.columns : problem_.out_row_stride,
                             k == 0,
                             k + depth >= problem_.depth,
                             problem_.accumulate,
                             problem_.alpha};
    const auto multiply = kernels_.multiply[static_cast<int>(problem_.out_storage)];
    parallel(count_b * panels_a_, kTileGrain, [&](int64_t begin, int64_t end) { multiply(job, begin, end); });
  }

  const GemmKernels& kernels_;
  const GemmProblem& problem_;
  int64_t depth_, panels_a_, panels_b_, floats_a_, floats_b_, floats_sums_;
};

}  // namespace mfugaku::kernels
