// Matrix products with float32 arithmetic, for float32, bfloat16 and float16 matrices, batched:
//
//   C[i] = alpha * (C[i] + A[i] B[i])   with or without the C[i] inside, A [rows, depth], B [depth, columns]
//
// Every element of C is one chain of fused multiply-adds in the order of depth, begun with zero or with the element
// itself, times alpha at the end, rounded to C's format once. So C has the same bits on every instruction set and
// vector length, for any tiling, and for any number of threads; halves give what float32 gives for the same numbers.
//
// The caller owns all memory and threads. It cuts depth into slices. For each slice it first packs A and B, in any
// number of ranges of panels on any threads, and when all are packed multiplies, in ranges of tiles. Pointers need the
// alignment of their element only.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

enum class Storage { Float32, BFloat16, Float16 };

// So many elements deep, a panel of B stays in the innermost cache while the rows of A pass by it.
inline constexpr int64_t kGemmDepth = 256;

// One of the matrices, as panels of the kernel's rows of A or columns of B: [batch, panel, depth, width], the last
// panel of each matrix filled up with zeros. `lane_stride` is that of A's rows or B's columns. One of the last two
// strides is 1, in elements; the kernels are right for any, but slow.
struct GemmPackJob {
  const void* matrix;
  int64_t batch_stride, lane_stride, depth_stride;
  int64_t num_lanes;  // rows of A, columns of B
  int64_t depth;      // of this slice; `matrix` points to its first element
  float* packed;
};

struct GemmTileJob {
  const float* a;
  const float* b;
  int64_t rows, columns, depth;
  int64_t panels_in_block;  // of B: as many columns of tiles are done side by side
  void* out;  // C; its column stride is 1
  int64_t out_batch_stride, out_row_stride;
  // Sums between slices. May be C itself where that is float32; needed when there is more than one slice.
  float* sums;
  int64_t sums_batch_stride, sums_row_stride;
  bool is_first, is_last;  // slice
  bool accumulate;         // begin with C
  float alpha;
};

struct GemmKernels {
  static constexpr const char* kOp = "gemm";
  using Pack = void (*)(const GemmPackJob& job, int64_t begin, int64_t end);  // panels in order of memory
  // Tiles: panels of a block within rows within blocks of columns within batch.
  using Multiply = void (*)(const GemmTileJob& job, int64_t begin, int64_t end);
  int64_t tile_rows;
  int64_t (*tile_columns)();
  Pack pack_a[3], pack_b[3];  // by the Storage of the matrix
  Multiply multiply[3];       // by that of C
  int64_t least_depth = 1;    // for which panels have room
  // The depth of a slice at most. Deep ones read and write C seldom, shallow ones have panels that fit into caches.
  int64_t slice_depth = kGemmDepth;
  // So much of B stays in the second cache while the rows of A pass by it; less than two panels: one, in the first.
  int64_t block_bytes = 0;
  // Of A and B each, packed at a time.
  int64_t packed_bytes = int64_t{32} << 20;
};

extern const GemmKernels gemm_portable, gemm_avx2, gemm_avx512, gemm_neon, gemm_sve;

}  // namespace mfugaku::kernels
