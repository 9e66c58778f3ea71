// The source of the gemm_fp16 kernels over the names of vec/fp16.h, compiled once per instruction set. A tile is eight
// rows by three vectors, as in gemm_tile.h and for its reasons. Its sums are in memory: two vectors of float32 for
// each vector of float16 would not fit into the registers.
#pragma once

#define MFUGAKU_TILE_ROWS 8
#include "kernels/gemm_fp16/gemm_fp16.h"
#include "kernels/gemm_fp16/gemm_fp16_pack.h"

namespace mfugaku::kernels {
namespace {

int64_t fp16_tile_columns() { return 3 * lanes16(); }

// What becomes of a chain: saved sums of the block, unless null, are added to it in this order, and it is saved too, or
// goes into the float32 sums when it is the block's last.
struct ChainEnd {
  const uint16_t *first, *second;
  uint16_t* saved;  // null: into `sums`
  float* sums;
};

// Where a compiler does not know how pointers come about, it lets loads and stores add the distance of a vector to the
// first of its row; gcc 12 would compute all of them instead.
template <typename T> MFUGAKU_INLINE T* hidden(T* p) {
  asm("" : "+r"(p));
  return p;
}

// Adds what a block has come to to two vectors of sums, or begins them with it.
template <bool adds> MFUGAKU_INLINE void promote(F16 block, const float* before, float* after) {
  const int64_t width = lanes();
  F32 a, b;
  widen(block, a, b);
  if constexpr (adds) {
    a = add(load(Float32{}, before, All{}), a);
    b = add(load(Float32{}, before + width, All{}), b);
  }
  store(Float32{}, after, a, All{});
  store(Float32{}, after + width, b, All{});
}

// One chain of each element of a tile; `length` > 0. The sums are begun, unless `adds`.
template <bool adds> void run_chain(const uint16_t* a, const uint16_t* b, int64_t length, const ChainEnd& end) {
  const int64_t width = lanes16();
#define MFUGAKU_DECLARE(r) F16 c##r##0, c##r##1, c##r##2;
  MFUGAKU_EACH_ROW(MFUGAKU_DECLARE)
#undef MFUGAKU_DECLARE
#define MFUGAKU_MULTIPLY(r)                                           \
  {                                                                   \
    const F16 x = broadcast16(a + r);                                 \
    c##r##0 = mul(x, b0), c##r##1 = mul(x, b1), c##r##2 = mul(x, b2); \
  }
#define MFUGAKU_ADD(r)                                                                  \
  {                                                                                     \
    const F16 x = broadcast16(a + r);                                                   \
    accumulate(c##r##0, x, b0), accumulate(c##r##1, x, b1), accumulate(c##r##2, x, b2); \
  }
#define MFUGAKU_STEP(DO)                                                          \
  {                                                                               \
    const F16 b0 = load16(b), b1 = load16(b + width), b2 = load16(b + 2 * width); \
    MFUGAKU_EACH_ROW(DO)                                                          \
    a += kTileRows;                                                               \
    b += 3 * width;                                                               \
  }
  MFUGAKU_STEP(MFUGAKU_MULTIPLY)
  for (int64_t left = (length - 1) % 4; left != 0; --left) MFUGAKU_STEP(MFUGAKU_ADD)
  for (int64_t left = (length - 1) / 4; left != 0; --left) {
    MFUGAKU_STEP(MFUGAKU_ADD)
    MFUGAKU_STEP(MFUGAKU_ADD)
    MFUGAKU_STEP(MFUGAKU_ADD)
    MFUGAKU_STEP(MFUGAKU_ADD)
  }
#undef MFUGAKU_STEP
#undef MFUGAKU_ADD
#undef MFUGAKU_MULTIPLY
#define MFUGAKU_ADD_SAVED(r)                     \
  c##r##0 = add(load16(p), c##r##0);             \
  c##r##1 = add(load16(p + width), c##r##1);     \
  c##r##2 = add(load16(p + 2 * width), c##r##2); \
  p = hidden(p + 3 * width);
  if (const uint16_t* p = end.first; p != nullptr) { MFUGAKU_EACH_ROW(MFUGAKU_ADD_SAVED) }
  if (const uint16_t* p = end.second; p != nullptr) { MFUGAKU_EACH_ROW(MFUGAKU_ADD_SAVED) }
#undef MFUGAKU_ADD_SAVED
  if (uint16_t* p = end.saved; p != nullptr) {
#define MFUGAKU_SAVE(r)                                                              \
  store16(p, c##r##0), store16(p + width, c##r##1), store16(p + 2 * width, c##r##2); \
  p = hidden(p + 3 * width);
    MFUGAKU_EACH_ROW(MFUGAKU_SAVE)
#undef MFUGAKU_SAVE
    return;
  }
  const float* before = hidden(end.sums);
  float* after = end.sums;
#define MFUGAKU_PROMOTE(r)                                       \
  promote<adds>(c##r##0, before, after);                         \
  promote<adds>(c##r##1, before + width, after + width);         \
  promote<adds>(c##r##2, before + 2 * width, after + 2 * width); \
  before = hidden(before + 3 * width), after = hidden(after + 3 * width);
  MFUGAKU_EACH_ROW(MFUGAKU_PROMOTE)
#undef MFUGAKU_PROMOTE
}

// Up to kFp16Block products of each element of a tile; `depth` > 0.
template <bool adds> void run_block(const uint16_t* a, const uint16_t* b, int64_t depth, float* sums) {
  alignas(64) uint16_t of_one[kTileRows * 3 * kMostLanes16], of_two[kTileRows * 3 * kMostLanes16];
  for (int64_t i = 0; depth > 0; ++i, depth -= kFp16Chain) {
    const bool is_odd = i % 2 != 0, is_last = depth <= kFp16Chain;
    run_chain<adds>(a, b, least(kFp16Chain, depth),
                    {is_odd ? of_one : nullptr, is_last && i >= 2 ? of_two : nullptr,
                     is_last ? nullptr : is_odd ? of_two : of_one, sums});
    a += kFp16Chain * kTileRows;
    b += kFp16Chain * fp16_tile_columns();
  }
}

// The rows and columns of a tile that exist, and their memory.
template <typename Format> struct OutTile {
  typename Format::Element* first;
  int64_t row_stride, rows, columns;
};

template <typename Format> void begin_sums(const OutTile<Format>& out, float* sums) {
  const int64_t width = lanes();
  for (int64_t row = 0; row < kTileRows; ++row)
    for (int64_t i = 0; i < 6; i += 2, sums += 2 * width) {
      const auto* const from = out.first + row * out.row_stride + i * width;
      const int64_t left = row < out.rows ? out.columns - i * width : 0;
      F32 a = load_part(Format{}, from, left), b = load_part(Format{}, from + width, left - width);
      take_apart(a, b);
      store(Float32{}, sums, a, All{});
      store(Float32{}, sums + width, b, All{});
    }
}

// Two vectors of sums, as C has them.
MFUGAKU_INLINE void put_whole(Float16, uint16_t* to, F32 a, F32 b) { store16(to, narrow(a, b)); }
MFUGAKU_INLINE void put_whole(Float32 format, float* to, F32 a, F32 b) {
  put_in_order(a, b);
  store(format, to, a, All{});
  store(format, to + lanes(), b, All{});
}
template <typename Format> void put_part(Format format, typename Format::Element* to, F32 a, F32 b, int64_t count) {
  put_in_order(a, b);
  store_part(format, to, a, count);
  store_part(format, to + lanes(), b, count - lanes());
}

template <typename Format> void end_sums(const float* sums, float alpha, const OutTile<Format>& out) {
  const int64_t width = lanes();
  const F32 factor = broadcast(alpha);
  const auto get = [&](int64_t i) { return mul(factor, load(Float32{}, sums + i * width, All{})); };
  for (int64_t row = 0; row < out.rows; ++row, sums += 6 * width) {
    auto* const to = out.first + row * out.row_stride;
    if (out.columns == 6 * width) {
      put_whole(Format{}, to, get(0), get(1));
      put_whole(Format{}, to + 2 * width, get(2), get(3));
      put_whole(Format{}, to + 4 * width, get(4), get(5));
    } else {
      put_part(Format{}, to, get(0), get(1), out.columns);
      put_part(Format{}, to + 2 * width, get(2), get(3), out.columns - 2 * width);
      put_part(Format{}, to + 4 * width, get(4), get(5), out.columns - 4 * width);
    }
  }
}

template <typename Format> void run_fp16_tile(const Fp16TileJob& job, const uint16_t* a, const uint16_t* b,
                                              const OutTile<Format>& out, float* sums) {
  const int64_t a_step = kFp16Block * kTileRows, b_step = kFp16Block * fp16_tile_columns();
  int64_t left = job.depth;
  if (job.is_first && job.accumulate) {
    begin_sums(out, sums);
  } else if (job.is_first && left == 0) {
    begin_sums(OutTile<Format>{out.first, out.row_stride, 0, 0}, sums);
  } else if (job.is_first) {
    run_block<false>(a, b, least(kFp16Block, left), sums);
    left -= kFp16Block, a += a_step, b += b_step;
  }
  for (; left > 0; left -= kFp16Block, a += a_step, b += b_step) run_block<true>(a, b, least(kFp16Block, left), sums);
  if (job.is_last) end_sums(sums, job.alpha, out);
}

template <typename Format> void gemm_fp16_multiply(const Fp16TileJob& job, int64_t begin, int64_t end) {
  alignas(64) float own_sums[kTileRows * 3 * kMostLanes16];
  const int64_t width = fp16_tile_columns();
  const int64_t num_row_tiles = (job.rows + kTileRows - 1) / kTileRows, num_panels = (job.columns + width - 1) / width;
  for (int64_t index = begin; index < end; ++index) {
    const int64_t panel = index / num_row_tiles, row = index % num_row_tiles * kTileRows;
    const int64_t batch = panel / num_panels, column = panel % num_panels * width;
    const OutTile<Format> out = {static_cast<typename Format::Element*>(job.out) + batch * job.out_batch_stride +
                                     row * job.out_row_stride + column,
                                 job.out_row_stride, least(kTileRows, job.rows - row),
                                 least(width, job.columns - column)};
    run_fp16_tile(job, job.a + (batch * num_row_tiles * kTileRows + row) * job.depth, job.b + panel * width * job.depth,
                  out, job.sums == nullptr ? own_sums : job.sums + index * kTileRows * width);
  }
}

constexpr GemmFp16Kernels kGemmFp16 = {
    kTileRows,
    fp16_tile_columns,
    gemm_fp16_pack<true>,
    gemm_fp16_pack<false>,
    gemm_fp16_multiply<Float32>,
    gemm_fp16_multiply<Float16>,
};

}  // namespace
}  // namespace mfugaku::kernels
