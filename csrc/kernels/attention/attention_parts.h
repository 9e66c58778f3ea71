// What the passes of attention have in common, over the names of vec/vec.h. See attention.h.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/gemm/gemm_pack.h"
#include "kernels/gemm/gemm_tile.h"
#include "vec/math.h"
#include "vec/philox.h"

namespace mfugaku::kernels {
namespace {

constexpr int64_t kBlock = kAttentionBlock;
constexpr int64_t kWordsOfPhilox = 4;
constexpr float kLowest = -1e30f;      // below every score; its products with a scale do not overflow
constexpr float kLeastPower = -80.0f;  // where exp() ends: 2e-35 of the largest probability

MFUGAKU_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
MFUGAKU_INLINE int64_t rounded_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
// The columns of all panels that `width` columns take.
MFUGAKU_INLINE int64_t padded(int64_t width) { return rounded_up(width, tile_columns()); }

template <typename Format> using ElementOf = typename Format::Element;

template <typename Format>
PanelSource<Format> rows_of(const AttentionMatrix& matrix, int64_t head, int64_t row, int64_t num_rows, int64_t width) {
  return {static_cast<const ElementOf<Format>*>(matrix.data) + head * matrix.head_stride + row * matrix.row_stride,
          matrix.row_stride, 1, num_rows, width};
}

template <typename Format> void attention_pack_rows(const AttentionPackJob& job, int64_t begin, int64_t end) {
  const int64_t num_panels = rounded_up(job.length, kTileRows) / kTileRows;
  for (int64_t index = begin; index < end; ++index) {
    const int64_t row = index % num_panels * kTileRows;
    pack_panel(rows_of<Format>(job.matrix, index / num_panels, row, least(kTileRows, job.length - row), job.width),
               kTileRows, job.packed + index * kTileRows * job.width);
  }
}

template <typename Format> void attention_pack_blocks(const AttentionPackJob& job, int64_t begin, int64_t end) {
  const int64_t num_blocks = rounded_up(job.length, kBlock) / kBlock, width = tile_columns();
  for (int64_t index = begin; index < end; ++index) {
    const int64_t head = index / num_blocks, row = index % num_blocks * kBlock;
    const int64_t num_rows = least(kBlock, job.length - row);
    const auto rows = rows_of<Format>(job.matrix, head, row, num_rows, job.width);
    float* packed = job.packed + (head * job.length + row) * padded(job.width);
    for (int64_t column = 0; column < job.width; column += width, packed += width * num_rows)
      pack_panel<Format>({rows.first + column, 1, job.matrix.row_stride, least(width, job.width - column), num_rows},
                         width, packed);
  }
}

// scores[row][lane] of packed rows with a packed panel.
MFUGAKU_INLINE void multiply_rows(const float* rows, const float* panel, int64_t width, int64_t num_rows,
                                  float* scores) {
  const int64_t columns = tile_columns();
  const TileSide<Float32> nothing = {nullptr, 0};
  for (int64_t row = 0; row < num_rows; row += kTileRows)
    run_tile(rows + row * width, PanelStep{}, panel, width, nothing,
             TileSide<Float32>{scores + row * columns, columns}, 1.0f, WholeTile{});
}

// sums[lane][column] += (or =, when `is_first`) sum over rows of weights[row][lane] * block[row][column]. Rows of sums
// have room for whole panels; behind the last vector of `width` columns nothing is written.
MFUGAKU_INLINE void accumulate_rows(const float* weights, const float* block, int64_t rows_of_block, int64_t skipped,
                                    int64_t num_rows, int64_t width, bool is_first, float* sums) {
  const int64_t columns = tile_columns(), stride = padded(width);
  struct Step {
    int64_t columns;
    operator int64_t() const { return columns; }
  } step{columns};
  for (int64_t column = 0; column < width; column += columns) {
    const float* const panel = block + column * rows_of_block + skipped * columns;
    for (int64_t lane = 0; lane < columns; lane += kTileRows) {
      const TileSide<Float32> after = {sums + lane * stride + column, stride};
      const TileSide<Float32> before = {is_first ? nullptr : after.first, stride};
      with_part<true>(least(kTileRows, columns - lane), least(columns, width - column), [&](auto part) {
        run_tile(weights + lane, step, panel, num_rows, before, after, 1.0f, part);
      });
    }
  }
}

// Rows of sums times a factor each, into rows of a matrix.
template <typename Format, typename Factor> void store_rows(const AttentionMatrix& matrix, int64_t head, int64_t row,
                                                            int64_t num_rows, int64_t width, const float* sums,
                                                            const Factor& factor) {
  auto* out = static_cast<ElementOf<Format>*>(matrix.data) + head * matrix.head_stride + row * matrix.row_stride;
  for (int64_t i = 0; i < num_rows; ++i, out += matrix.row_stride, sums += padded(width)) {
    const F32 by = broadcast(factor(i));
    for (int64_t column = 0; column < width; column += lanes())
      store_part(Format{}, out + column, mul(load(Float32{}, sums + column, All{}), by), width - column);
  }
}

// The words that decide on four successive keys of each of some queries.
struct DropoutWords {
  const PhiloxKeys keys;
  const uint32_t head, offset;

  DropoutWords(const AttentionJob& job, int64_t which)
      : keys(job.seed),
        head(static_cast<uint32_t>(which / job.heads_per_sequence * job.heads_of_model + job.first_head +
                                   which % job.heads_per_sequence)),
        offset(job.offset) {}

  // For the queries of a vector, and the keys 4 * group ... and, in b0 to b3, 4 * group + 4 ...
  MFUGAKU_INLINE void two(int64_t query, int64_t group, U32& a0, U32& a1, U32& a2, U32& a3, U32& b0, U32& b1, U32& b2,
                          U32& b3) const {
    begin(query, group, a0, a1, a2, a3);
    begin(query, group + 1, b0, b1, b2, b3);
#pragma GCC unroll 10
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const U32 key0 = broadcast(keys.low[round]), key1 = broadcast(keys.high[round]);
      philox_round(key0, key1, a0, a1, a2, a3);
      philox_round(key0, key1, b0, b1, b2, b3);
    }
  }

 private:
  MFUGAKU_INLINE void begin(int64_t query, int64_t group, U32& w0, U32& w1, U32& w2, U32& w3) const {
    w0 = count_from(static_cast<uint32_t>(query));
    w1 = broadcast(static_cast<uint32_t>(group));
    w2 = broadcast(head);
    w3 = broadcast(offset);
  }
};

// e^(scale * score + shift), where that is no more than about 1.
MFUGAKU_INLINE F32 power(F32 score, F32 scale, F32 shift) {
  return exp(at_least(fma(score, scale, shift), broadcast(kLeastPower)));
}

// Cuts the memory of a task.
class Cutter {
 public:
  explicit Cutter(float* memory) : memory_(memory), begin_(memory) {}
  float* take(int64_t count) {
    float* const taken = memory_;
    memory_ += rounded_up(count, 16);
    return taken;
  }
  int64_t taken() const { return memory_ - begin_; }

 private:
  float *memory_, *const begin_;
};

}  // namespace
}  // namespace mfugaku::kernels
