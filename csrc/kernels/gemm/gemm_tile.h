// One tile of a matrix product: kTileRows rows by three vectors, over the names of vec/vec.h. MFUGAKU_TILE_ROWS is 4 or
// 8: three accumulators for each row, three vectors of B and one element of A must fit into the registers. Eight rows
// hide the latency of an A64FX (9 cycles on 2 pipes want 18 sums in flight), and three of its vectors divide the widths
// of the Fugaku-LLM's matrices.
#pragma once

#include "vec/vec.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

constexpr int64_t kTileRows = MFUGAKU_TILE_ROWS;
MFUGAKU_INLINE int64_t tile_columns() { return 3 * lanes(); }

MFUGAKU_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Vectors cannot be members of an array where their length is not known: each row is named.
#if MFUGAKU_TILE_ROWS == 8
#define MFUGAKU_EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#else
#define MFUGAKU_EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3)
#endif

// `count` elements at p, which may be none or more than a vector has; zeros behind them.
template <typename Format>
MFUGAKU_INLINE F32 load_part(Format format, const typename Format::Element* p, int64_t count) {
  return count >= lanes() ? load(format, p, All{}) : count > 0 ? load(format, p, First{count}) : broadcast(0.0f);
}
template <typename Format>
MFUGAKU_INLINE void store_part(Format format, typename Format::Element* p, F32 v, int64_t count) {
  if (count >= lanes()) store(format, p, v, All{});
  else if (count > 0) store(format, p, v, First{count});
}

// The rows and columns of a tile that exist; the others are zero in the panels and nowhere in memory. The vectors that
// hold columns are computed.
struct WholeTile {
  static constexpr int64_t kVectors = 3;
  MFUGAKU_INLINE int64_t rows() const { return kTileRows; }
  template <typename Format> MFUGAKU_INLINE F32 get(Format format, const typename Format::Element* p, int64_t i) const {
    return load(format, p + i * lanes(), All{});
  }
  template <typename Format>
  MFUGAKU_INLINE void put(Format format, typename Format::Element* p, int64_t i, F32 v) const {
    store(format, p + i * lanes(), v, All{});
  }
};
// `has_room`: in memory, the last vector of a row is whole.
template <int64_t num_vectors, bool has_room> struct PartOfTile {
  static constexpr int64_t kVectors = num_vectors;
  int64_t num_rows, num_columns;
  MFUGAKU_INLINE int64_t rows() const { return num_rows; }
  template <typename Format> MFUGAKU_INLINE F32 get(Format format, const typename Format::Element* p, int64_t i) const {
    if constexpr (has_room) return load(format, p + i * lanes(), All{});
    else return load_part(format, p + i * lanes(), num_columns - i * lanes());
  }
  template <typename Format>
  MFUGAKU_INLINE void put(Format format, typename Format::Element* p, int64_t i, F32 v) const {
    if constexpr (has_room) store(format, p + i * lanes(), v, All{});
    else store_part(format, p + i * lanes(), v, num_columns - i * lanes());
  }
};

// Calls `body(part)` for so much of a tile.
template <bool has_room, typename Body>
MFUGAKU_INLINE void with_part(int64_t rows, int64_t columns, const Body& body) {
  if (rows == kTileRows && columns == tile_columns()) body(WholeTile{});
  else if (columns <= lanes()) body(PartOfTile<1, has_room>{rows, columns});
  else if (columns <= 2 * lanes()) body(PartOfTile<2, has_room>{rows, columns});
  else body(PartOfTile<3, has_room>{rows, columns});
}

// Where the sums of a tile begin, or where they go to.
template <typename Format> struct TileSide {
  typename Format::Element* first;  // null: they begin with zero
  int64_t row_stride;
};

// Memory that a tile brings near while it computes: the rows that it is going to write, or those that the next tile
// begins with, and elements that a later one multiplies.
struct Ahead {
  const char* row;  // null: none
  int64_t row_stride, row_bytes;
  const char* panel;
  int64_t panel_bytes;
};
#ifdef MFUGAKU_TILE_LOOKS_AHEAD
constexpr bool kLooksAhead = true;
#else
constexpr bool kLooksAhead = false;
#endif

// From the elements of A for one k to those for the next.
struct PanelStep {
  constexpr operator int64_t() const { return kTileRows; }
};

// Runs one tile over panels of `depth`; `before` and `after` are the values of its elements, in whatever formats.
template <typename Step, typename Before, typename After, typename Part>
void run_tile(const float* a, Step a_step, const float* b, int64_t depth, TileSide<Before> before,
              TileSide<After> after, float alpha, Part part, Ahead ahead = {}) {
  const int64_t width = lanes();
#define MFUGAKU_ZERO(r) F32 c##r##0 = broadcast(0.0f), c##r##1 = c##r##0, c##r##2 = c##r##0;
  MFUGAKU_EACH_ROW(MFUGAKU_ZERO)
#undef MFUGAKU_ZERO
  if (before.first != nullptr) {
#define MFUGAKU_BEGIN(r)                                                                                              \
  if (r < part.rows()) {                                                                                              \
    const auto* const row = before.first + r * before.row_stride;                                                     \
    c##r##0 = part.get(Before{}, row, 0);                                                                             \
    if constexpr (Part::kVectors > 1) c##r##1 = part.get(Before{}, row, 1);                                           \
    if constexpr (Part::kVectors > 2) c##r##2 = part.get(Before{}, row, 2);                                           \
  }
    MFUGAKU_EACH_ROW(MFUGAKU_BEGIN)
#undef MFUGAKU_BEGIN
  }
#define MFUGAKU_ADD(r)                                                 \
  {                                                                    \
    const F32 x = broadcast(ak[r]);                                    \
    accumulate(c##r##0, x, b0);                                        \
    if constexpr (Part::kVectors > 1) accumulate(c##r##1, x, b1);      \
    if constexpr (Part::kVectors > 2) accumulate(c##r##2, x, b2);      \
  }
#define MFUGAKU_STEP(k)                                                                            \
  {                                                                                                \
    const float* const ak = a + (k) * a_step;                                                      \
    const F32 b0 = load(Float32{}, b + 3 * (k) * width, All{});                                    \
    F32 b1 = b0, b2 = b0;                                                                          \
    if constexpr (Part::kVectors > 1) b1 = load(Float32{}, b + (3 * (k) + 1) * width, All{});      \
    if constexpr (Part::kVectors > 2) b2 = load(Float32{}, b + (3 * (k) + 2) * width, All{});      \
    MFUGAKU_EACH_ROW(MFUGAKU_ADD)                                                                  \
  }
#define MFUGAKU_STEPS(left, until)       \
  for (; (left) != (until); --(left)) { \
    MFUGAKU_STEP(0)                     \
    MFUGAKU_STEP(1)                     \
    a += 2 * a_step;                    \
    b += 6 * width;                     \
  }
  int64_t left = depth / 2;
  if constexpr (kLooksAhead) {
    // Little by little: all at once would keep the panels waiting.
    constexpr int64_t kLineBytes = 64, kStepsPerLine = 4;
    for (int64_t turn = 0; left >= kStepsPerLine; ++turn) {
      if (turn < kTileRows && ahead.row != nullptr)
        for (int64_t at = 0; at < ahead.row_bytes; at += kLineBytes)
          __builtin_prefetch(ahead.row + turn * ahead.row_stride + at, 1);
      if (turn * kLineBytes < ahead.panel_bytes) __builtin_prefetch(ahead.panel + turn * kLineBytes, 0, 2);
      const int64_t until = left - kStepsPerLine;
      MFUGAKU_STEPS(left, until)
    }
  }
  MFUGAKU_STEPS(left, 0)
  if (depth % 2 != 0) MFUGAKU_STEP(0)
#undef MFUGAKU_STEPS
#undef MFUGAKU_STEP
#undef MFUGAKU_ADD
  const F32 factor = broadcast(alpha);
#define MFUGAKU_END(r)                                                                                \
  if (r < part.rows()) {                                                                              \
    auto* const row = after.first + r * after.row_stride;                                             \
    part.put(After{}, row, 0, mul(factor, c##r##0));                                                  \
    if constexpr (Part::kVectors > 1) part.put(After{}, row, 1, mul(factor, c##r##1));                \
    if constexpr (Part::kVectors > 2) part.put(After{}, row, 2, mul(factor, c##r##2));                \
  }
  MFUGAKU_EACH_ROW(MFUGAKU_END)
#undef MFUGAKU_END
}

}  // namespace
}  // namespace mfugaku::kernels
