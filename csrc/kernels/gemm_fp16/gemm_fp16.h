// Matrix products of float16 matrices with float16 arithmetic, batched:
//
//   C[i] = alpha * (C[i] + A[i] B[i])   with or without the C[i] inside, A [rows, depth], B [depth, columns]
//
// A vector of float16 has twice the lanes of one of float32, at a price in accuracy. Depth is cut, from its beginning,
// into blocks of kFp16Block products, and these into chains of kFp16Chain. A chain is a float16: its first product
// rounded, then one fused multiply-add after the other in the order of depth, each rounded once. The chains of a block
// are added pairwise in float16, (c0 + c1) + (c2 + c3); three in a last block are (c0 + c1) + c2. Blocks are added up in
// float32 in their order, begun with the first of them or with C's element, times alpha at the end, rounded to C's format
// once. So C has the same bits on every instruction set and vector length, for any tiling, and for any number of threads;
// also where a CPU has no float16 arithmetic and float32 stands in for it, slowly.
//
// An element is off by at most kFp16ErrorBound of the sum of its products' magnitudes, and 2^-25 for each product and sum
// below 2^-14, where steps of float16 are of 2^-24; sums within a block beyond 65504 are infinite. Of independent
// numbers of mean zero, the errors' root mean square is 0.09 % of that of the elements, whatever the depth, and at most
// kFp16TypicalError. For comparison: rounding to float16 alone is 0.02 %, to bfloat16 0.17 %. Chains twice as long, each
// of which goes into float32 by itself, would take as many cycles of an A64FX and have 1.3 times the error.
//
// Who owns memory, threads and slices of depth: as gemm.h.
#pragma once

#include "kernels/gemm/gemm.h"

namespace mfugaku::kernels {

inline constexpr int64_t kFp16Chain = 32, kFp16Block = 128;
// Each product passes at most so many roundings to 11 bits in its chain, two more in its block and, for up to 2^20
// products, less than one of these in all in float32.
inline constexpr double kFp16ErrorBound = (kFp16Chain + 3) * 0x1p-11 * 1.02;
inline constexpr double kFp16TypicalError = 0.001;
static_assert(kFp16Block == 4 * kFp16Chain && kGemmDepth % kFp16Block == 0, "slices of depth are whole blocks");

// As GemmPackJob, of halves and for panels of halves.
struct Fp16PackJob {
  const uint16_t* matrix;
  int64_t batch_stride, lane_stride, depth_stride;
  int64_t num_lanes, depth;
  uint16_t* packed;
};

struct Fp16TileJob {
  const uint16_t* a;
  const uint16_t* b;
  int64_t rows, columns, depth;
  void* out;  // C; its column stride is 1
  int64_t out_batch_stride, out_row_stride;
  // Sums between slices: tile_rows times tile_columns for each tile, in order of the tiles. Null: there is one slice.
  float* sums;
  bool is_first, is_last;  // slice
  bool accumulate;         // begin with C
  float alpha;
};

struct GemmFp16Kernels {
  static constexpr const char* kOp = "gemm_fp16";
  using Pack = void (*)(const Fp16PackJob& job, int64_t begin, int64_t end);  // panels in order of memory
  using Multiply = void (*)(const Fp16TileJob& job, int64_t begin,
                            int64_t end);  // tiles: rows within columns within batch
  int64_t tile_rows;
  int64_t (*tile_columns)();
  Pack pack_a, pack_b;
  Multiply to_float32, to_float16;  // by the format of C
};

extern const GemmFp16Kernels gemm_fp16_portable, gemm_fp16_avx2, gemm_fp16_avx512, gemm_fp16_neon, gemm_fp16_neon_fp16,
    gemm_fp16_sve;

}  // namespace mfugaku::kernels
