// The source of the dropout kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/dropout/dropout.h"
#include "vec/philox.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

constexpr int64_t kWords = 4;  // of a Philox block
constexpr int64_t kBlocks = kDropoutGroup / kWords;

// The words of as many blocks as there are lanes, from `block` on, before the first round. The blocks of a group differ
// in their low bits only: the high word is one for all lanes.
MFUGAKU_INLINE void philox_begin(uint64_t block, uint64_t offset, U32& w0, U32& w1, U32& w2, U32& w3) {
  w0 = count_from(static_cast<uint32_t>(block));
  w1 = broadcast(static_cast<uint32_t>(block >> 32));
  w2 = broadcast(static_cast<uint32_t>(offset));
  w3 = broadcast(static_cast<uint32_t>(offset >> 32));
}

template <typename Format, bool has_bias, bool has_residual> struct Dropout {
  using Element = typename Format::Element;

  const DropoutJob job;  // copies: what is written through job.out cannot change them
  const PhiloxKeys keys;
  // Where the bias of each quarter of the group at hand begins; a quarter that a row ends in gets a copy of its own.
  const Element* bias[kWords];
  Element wrapped[kWords][kBlocks];

  explicit Dropout(const DropoutJob& given) : job(given), keys(given.seed) {}

  MFUGAKU_INLINE void find_bias(int64_t begin, int64_t length) {
    const auto* const all = static_cast<const Element*>(job.bias);
    int64_t column = begin % job.num_columns;
    for (int64_t w = 0; w < kWords && w * kBlocks < length; ++w) {
      if (column + kBlocks <= job.num_columns) {
        bias[w] = all + column;
        column += kBlocks;
        if (column == job.num_columns) column = 0;
        continue;
      }
      for (int64_t i = 0; i < kBlocks; ++i) {
        wrapped[w][i] = all[column];
        column = column + 1 == job.num_columns ? 0 : column + 1;
      }
      bias[w] = wrapped[w];
    }
  }

  // One vector: lanes from `lane` on of quarter w of the group that begins at `begin`.
  template <typename Count> MFUGAKU_INLINE void apply(int64_t begin, int64_t w, int64_t lane, U32 word, Count count) {
    const int64_t i = begin + w * kBlocks + lane;
    F32 v = load(Format{}, static_cast<const Element*>(job.x) + i, count);
    if (has_bias) v = add(v, load(Format{}, bias[w] + lane, count));
    v = keep(not_below(word, broadcast(job.threshold)), mul(v, broadcast(job.scale)));
    if (has_residual) v = add(load(Format{}, static_cast<const Element*>(job.residual) + i, count), v);
    store(Format{}, static_cast<Element*>(job.out) + i, v, count);
  }

  MFUGAKU_INLINE void apply_part(int64_t begin, int64_t length, int64_t w, int64_t lane, int64_t width, U32 word) {
    const int64_t left = length - w * kBlocks - lane;
    if (left <= 0) return;
    if (left >= width)
      apply(begin, w, lane, word, First{width});
    else
      apply(begin, w, lane, word, First{left});
  }

  template <typename Count>
  MFUGAKU_INLINE void apply_all(int64_t begin, int64_t lane, U32 w0, U32 w1, U32 w2, U32 w3, Count count) {
    apply(begin, 0, lane, w0, count);
    apply(begin, 1, lane, w1, count);
    apply(begin, 2, lane, w2, count);
    apply(begin, 3, lane, w3, count);
  }

  // Two vectors of a whole group at once: a round is a chain of a slow multiplication and three quick operations, and
  // the other vector fills its gaps.
  MFUGAKU_INLINE void run_two(int64_t begin, int64_t lane, int64_t width) {
    const auto block = static_cast<uint64_t>(begin / kWords + lane);
    U32 a0, a1, a2, a3, b0, b1, b2, b3;
    philox_begin(block, job.offset, a0, a1, a2, a3);
    philox_begin(block + static_cast<uint64_t>(width), job.offset, b0, b1, b2, b3);
#pragma GCC unroll 10
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const U32 key0 = broadcast(keys.low[round]), key1 = broadcast(keys.high[round]);
      philox_round(key0, key1, a0, a1, a2, a3);
      philox_round(key0, key1, b0, b1, b2, b3);
    }
    apply_all(begin, lane, a0, a1, a2, a3, All{});
    apply_all(begin, lane + width, b0, b1, b2, b3, All{});
  }

  // One vector, of which the group may have only some lanes.
  MFUGAKU_INLINE void run_one(int64_t begin, int64_t length, int64_t lane, int64_t width) {
    U32 w0, w1, w2, w3;
    philox_begin(static_cast<uint64_t>(begin / kWords + lane), job.offset, w0, w1, w2, w3);
#pragma GCC unroll 10
    for (int round = 0; round < kPhiloxRounds; ++round)
      philox_round(broadcast(keys.low[round]), broadcast(keys.high[round]), w0, w1, w2, w3);
    const int64_t used = kBlocks - lane < width ? kBlocks - lane : width;
    apply_part(begin, length, 0, lane, used, w0);
    apply_part(begin, length, 1, lane, used, w1);
    apply_part(begin, length, 2, lane, used, w2);
    apply_part(begin, length, 3, lane, used, w3);
  }

  void run(int64_t begin, int64_t end) {
    const int64_t width = lanes();
    for (; begin < end; begin += kDropoutGroup) {
      const int64_t length = end - begin < kDropoutGroup ? end - begin : kDropoutGroup;
      if (has_bias) find_bias(begin, length);
      int64_t lane = 0;
      if (length == kDropoutGroup)
        for (; lane + 2 * width <= kBlocks; lane += 2 * width) run_two(begin, lane, width);
      for (; lane < kBlocks; lane += width) run_one(begin, length, lane, width);
    }
  }
};

template <typename Format> void dropout(const DropoutJob& job, int64_t begin, int64_t end) {
  if (job.bias != nullptr && job.residual != nullptr) return Dropout<Format, true, true>(job).run(begin, end);
  if (job.bias != nullptr) return Dropout<Format, true, false>(job).run(begin, end);
  if (job.residual != nullptr) return Dropout<Format, false, true>(job).run(begin, end);
  Dropout<Format, false, false>(job).run(begin, end);
}

constexpr DropoutKernels kDropout = {dropout<Float32>, dropout<BFloat16>, dropout<Float16>};

}  // namespace
}  // namespace mfugaku::kernels
