// The source of the dropout kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include <cstddef>

#include "kernels/dropout/dropout.h"
#include "vec/philox.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

constexpr int64_t kWords = 4;  // of a Philox block
constexpr int64_t kBlocks = kDropoutGroup / kWords;

template <typename Format, bool has_bias, bool has_residual> struct Dropout {
  using Element = typename Format::Element;

  const DropoutJob job;  // copies: what is written through job.out cannot change them
  const PhiloxKeys keys;
  const Element* bias;  // of the group at hand; a group that a row ends in gets a copy of its own
  Element wrapped[kDropoutGroup];

  explicit Dropout(const DropoutJob& given) : job(given), keys(given.seed) {}

  // The blocks of a group differ in their low bits only: the high word is one for all lanes.
  MFUGAKU_INLINE PhiloxStart start_of(int64_t begin) const {
    return {keys, static_cast<uint32_t>(static_cast<uint64_t>(begin / kWords) >> 32), static_cast<uint32_t>(job.offset),
            static_cast<uint32_t>(job.offset >> 32)};
  }

  MFUGAKU_INLINE void find_bias(int64_t begin) {
    const auto* const all = static_cast<const Element*>(job.bias);
    int64_t column = begin % job.num_columns;
    bias = all + column;
    if (column + kDropoutGroup <= job.num_columns) return;
    bias = wrapped;
    for (int64_t i = 0, length; i < kDropoutGroup; i += length, column = 0) {
      length = job.num_columns - column < kDropoutGroup - i ? job.num_columns - column : kDropoutGroup - i;
      __builtin_memcpy(wrapped + i, all + column, static_cast<size_t>(length) * sizeof(Element));
    }
  }

  // Where the first quarter of some lanes stands; the others are kBlocks elements behind one another.
  struct Place {
    const Element *x, *bias, *residual;
    Element* out;
  };
  MFUGAKU_INLINE Place place_of(int64_t begin, int64_t lane) const {
    const int64_t i = begin + lane;
    return {static_cast<const Element*>(job.x) + i, has_bias ? bias + lane : nullptr,
            has_residual ? static_cast<const Element*>(job.residual) + i : nullptr, static_cast<Element*>(job.out) + i};
  }

  // One vector of quarter w.
  template <typename Count> MFUGAKU_INLINE void apply(const Place& place, int64_t w, U32 word, Count count) const {
    F32 v = load(Format{}, place.x + w * kBlocks, count);
    if (has_bias) v = add(v, load(Format{}, place.bias + w * kBlocks, count));
    v = keep(not_below(word, broadcast(job.threshold)), mul(v, broadcast(job.scale)));
    if (has_residual) v = add(load(Format{}, place.residual + w * kBlocks, count), v);
    store(Format{}, place.out + w * kBlocks, v, count);
  }

  MFUGAKU_INLINE void apply_all(int64_t begin, int64_t lane, U32 w0, U32 w1, U32 w2, U32 w3) const {
    const Place place = place_of(begin, lane);
    apply(place, 0, w0, All{});
    apply(place, 1, w1, All{});
    apply(place, 2, w2, All{});
    apply(place, 3, w3, All{});
  }

  // Two vectors of a whole group at once: a round is a chain of a slow multiplication and three quick operations, and
  // the other vector fills its gaps.
  MFUGAKU_INLINE void run_two(const PhiloxStart& start, int64_t begin, int64_t lane, int64_t width) {
    const auto block = static_cast<uint32_t>(begin / kWords + lane);
    U32 a0 = count_from(block), a1, a2, a3, b0 = count_from(block + static_cast<uint32_t>(width)), b1, b2, b3;
    philox_start(start, keys, a0, a1, a2, a3);
    philox_start(start, keys, b0, b1, b2, b3);
#pragma GCC unroll 10
    for (int round = kPhiloxStartRounds; round < kPhiloxRounds; ++round) {
      const U32 key0 = broadcast(keys.low[round]), key1 = broadcast(keys.high[round]);
      philox_round(key0, key1, a0, a1, a2, a3);
      philox_round(key0, key1, b0, b1, b2, b3);
    }
    apply_all(begin, lane, a0, a1, a2, a3);
    apply_all(begin, lane + width, b0, b1, b2, b3);
  }

  // One vector, of which the group may have only some lanes.
  MFUGAKU_INLINE void run_one(const PhiloxStart& start, int64_t begin, int64_t length, int64_t lane, int64_t width) {
    U32 w0 = count_from(static_cast<uint32_t>(begin / kWords + lane)), w1, w2, w3;
    philox_start(start, keys, w0, w1, w2, w3);
#pragma GCC unroll 10
    for (int round = kPhiloxStartRounds; round < kPhiloxRounds; ++round)
      philox_round(broadcast(keys.low[round]), broadcast(keys.high[round]), w0, w1, w2, w3);
    const Place place = place_of(begin, lane);
    const int64_t used = kBlocks - lane < width ? kBlocks - lane : width;
    const auto apply_part = [&](int64_t w, U32 word) __attribute__((always_inline, nothrow)) {
      const int64_t left = length - w * kBlocks - lane;
      if (left > 0) apply(place, w, word, First{left < used ? left : used});
    };
    apply_part(0, w0);
    apply_part(1, w1);
    apply_part(2, w2);
    apply_part(3, w3);
  }

  // Whole groups in pairs of vectors, in one loop, so that what all have in common is loaded once.
  MFUGAKU_INLINE void run_whole(int64_t& begin, int64_t end, int64_t width) {
    constexpr int64_t kAlike = int64_t{1} << 34;  // elements whose blocks have one high word
    while (end - begin >= kDropoutGroup) {
      const PhiloxStart start = start_of(begin);
      const int64_t next = begin - begin % kAlike + kAlike, limit = next < end ? next : end - end % kDropoutGroup;
      for (int64_t lane = 0; begin < limit;) {
        if (has_bias && lane == 0) find_bias(begin);
        run_two(start, begin, lane, width);
        lane += 2 * width;
        begin += (lane & kBlocks) * (kDropoutGroup / kBlocks);  // no branch: one would make two loops of this
        lane &= kBlocks - 1;
      }
    }
  }

  void run(int64_t begin, int64_t end) {
    const int64_t width = lanes();
    if (kBlocks % (2 * width) == 0) run_whole(begin, end, width);
    for (; begin < end; begin += kDropoutGroup) {
      const int64_t length = end - begin < kDropoutGroup ? end - begin : kDropoutGroup;
      if (has_bias) find_bias(begin);
      const PhiloxStart start = start_of(begin);
      for (int64_t lane = 0; lane < kBlocks; lane += width) run_one(start, begin, length, lane, width);
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
