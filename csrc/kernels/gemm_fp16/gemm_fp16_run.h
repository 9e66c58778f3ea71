// A whole matrix product from the kernels of gemm_fp16.h, as gemm_run.h does it.
#pragma once

#include "kernels/gemm/gemm_run.h"
#include "kernels/gemm_fp16/gemm_fp16.h"

namespace mfugaku::kernels {

// Of a GemmProblem whose a and b are float16, and whose out is float16 or float32.
class GemmFp16Plan {
 public:
  GemmFp16Plan(const GemmFp16Kernels& kernels, const GemmProblem& problem)
      : kernels_(kernels), problem_(problem), width_(kernels.tile_columns()) {
    const int64_t depth = std::min(problem.depth, kGemmDepth);
    panels_a_ = (problem.rows + kernels.tile_rows - 1) / kernels.tile_rows;
    panels_b_ = (problem.columns + width_ - 1) / width_;
    num_tiles_ = problem.batches * panels_a_ * panels_b_;
    floats_a_ = floats_for_halves(problem.batches * depth * panels_a_ * kernels.tile_rows);
    floats_b_ = floats_for_halves(problem.batches * depth * panels_b_ * width_);
    floats_sums_ = problem.depth > kGemmDepth ? num_tiles_ * kernels.tile_rows * width_ : 0;
  }

  // As of GemmPlan.
  int64_t workspace() const { return floats_a_ + floats_b_ + floats_sums_; }
  template <typename Parallel> void run(float* workspace, const Parallel& parallel) const {
    if (num_tiles_ == 0) return;
    for (int64_t k = 0; k == 0 || k < problem_.depth; k += kGemmDepth) run_slice(k, workspace, parallel);
  }

 private:
  static constexpr int64_t kPackGrain = 64, kTileGrain = 2;

  static int64_t floats_for_halves(int64_t halves) { return (halves + 31) / 32 * 16; }

  Fp16PackJob pack_job(const GemmOperand& matrix, bool is_a, int64_t k, int64_t depth, float* packed) const {
    const int64_t lane = is_a ? matrix.row_stride : matrix.column_stride;
    const int64_t step = is_a ? matrix.column_stride : matrix.row_stride;
    return {static_cast<const uint16_t*>(matrix.data) + k * step,
            matrix.batch_stride,
            lane,
            step,
            is_a ? problem_.rows : problem_.columns,
            depth,
            reinterpret_cast<uint16_t*>(packed)};
  }

  template <typename Parallel> void run_slice(int64_t k, float* workspace, const Parallel& parallel) const {
    const int64_t depth = std::min(kGemmDepth, problem_.depth - k);
    const Fp16PackJob a = pack_job(problem_.a, true, k, depth, workspace);
    const Fp16PackJob b = pack_job(problem_.b, false, k, depth, workspace + floats_a_);
    parallel(problem_.batches * panels_a_, std::max<int64_t>(1, kPackGrain / kernels_.tile_rows),
             [&](int64_t begin, int64_t end) { kernels_.pack_a(a, begin, end); });
    parallel(problem_.batches * panels_b_, std::max<int64_t>(1, kPackGrain / width_),
             [&](int64_t begin, int64_t end) { kernels_.pack_b(b, begin, end); });
    const Fp16TileJob job = {a.packed,
                             b.packed,
                             problem_.rows,
                             problem_.columns,
                             depth,
                             problem_.out,
                             problem_.out_batch_stride,
                             problem_.out_row_stride,
                             floats_sums_ > 0 ? workspace + floats_a_ + floats_b_ : nullptr,
                             k == 0,
                             k + depth >= problem_.depth,
                             problem_.accumulate,
                             problem_.alpha};
    const auto multiply = problem_.out_storage == Storage::Float32 ? kernels_.to_float32 : kernels_.to_float16;
    parallel(num_tiles_, kTileGrain, [&](int64_t begin, int64_t end) { multiply(job, begin, end); });
  }

  const GemmFp16Kernels& kernels_;
  const GemmProblem& problem_;
  int64_t width_, panels_a_, panels_b_, num_tiles_, floats_a_, floats_b_, floats_sums_;
};

}  // namespace mfugaku::kernels
