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

  const DropoutJob job;
  const PhiloxKeys keys;

  explicit Dropout(const DropoutJob& given) : job(given), keys(given.seed) {}

  // The blocks of a group differ in their low bits only: the high word is one for all lanes.
  MFUGAKU_INLINE PhiloxStart start_of(int64_t begin) const {
    return {keys, static_cast<uint32_t>(static_cast<uint64_t>(begin / kWords) >> 32), static_cast<uint32_t>(job.offset),
            static_cast<uint32_t>(job.offset >> 32)};
  }

  // The biases from element `begin` on, as far as `num_groups` groups: where a row ends in the first, a copy of its own.
  MFUGAKU_INLINE const Element* find_bias(int64_t begin, Element* copy, int64_t& num_groups) const {
    num_groups = INT64_MAX / kDropoutGroup;
    if (!has_bias) return nullptr;
    const auto* const all = static_cast<const Element*>(job.bias);
    int64_t column = begin % job.num_columns;
    num_groups = (job.num_columns - column) / kDropoutGroup;
    if (num_groups > 0) return all + column;
    num_groups = 1;
    for (int64_t i = 0, length; i < kDropoutGroup; i += length, column = 0) {
      length = job.num_columns - column < kDropoutGroup - i ? job.num_columns - column : kDropoutGroup - i;
      __builtin_memcpy(copy + i, all + column, static_cast<size_t>(length) * sizeof(Element));
    }
    return copy;
  }

  struct Place {
    const Element *x, *bias, *residual;
    Element* out;
  };
  MFUGAKU_INLINE Place place_of(int64_t begin, const Element* bias) const {
    return {static_cast<const Element*>(job.x) + begin, bias,
            has_residual ? static_cast<const Element*>(job.residual) + begin : nullptr,
            static_cast<Element*>(job.out) + begin};
  }

  // One vector, from element i of a place on.
  template <typename Count> MFUGAKU_INLINE void apply(const Place& place, int64_t i, U32 word, Count count) const {
    F32 v = load(Format{}, place.x + i, count);
    if (has_bias) v = add(v, load(Format{}, place.bias + i, count));
    v = keep(not_below(word, broadcast(job.threshold)), mul(v, broadcast(job.scale)));
    if (has_residual) v = add(load(Format{}, place.residual + i, count), v);
    store(Format{}, place.out + i, v, count);
  }

  MFUGAKU_INLINE void apply_all(const Place& place, int64_t i, U32 w0, U32 w1, U32 w2, U32 w3) const {
    apply(place, index_apart(i), w0, All{});
    apply(place, index_apart(i + kBlocks), w1, All{});
    apply(place, index_apart(i + 2 * kBlocks), w2, All{});
    apply(place, index_apart(i + 3 * kBlocks), w3, All{});
  }

  // Whole groups in pairs of vectors: a round is a chain of a slow multiplication and three quick operations, and the other
  // vector fills its gaps. Their blocks have one high word, and their biases stand one behind the other. Nothing is called
  // here, and members are copied, which stores cannot change: so what all groups have in common stays in registers.
  __attribute__((noinline, nothrow)) static void run_groups(Dropout of, const Element* bias, int64_t begin, int64_t end) {
    const int64_t width = lanes(), num_lanes = (end - begin) / kWords;
    const PhiloxKeys keys = of.keys;
    const PhiloxStart start = of.start_of(begin);
    const Place place = of.place_of(begin, bias);
    auto block = static_cast<uint32_t>(begin / kWords);
    for (int64_t lane = 0; lane < num_lanes; lane += 2 * width) {
      U32 a0 = count_from(block), a1, a2, a3, b0 = count_from(block + static_cast<uint32_t>(width)), b1, b2, b3;
      block += static_cast<uint32_t>(2 * width);
      philox_start(start, keys, a0, a1, a2, a3);
      philox_start(start, keys, b0, b1, b2, b3);
#pragma GCC unroll 10
      for (int round = kPhiloxStartRounds; round < kPhiloxRounds; ++round) {
        const U32 key0 = broadcast(keys.low[round]), key1 = broadcast(keys.high[round]);
        philox_round(key0, key1, a0, a1, a2, a3);
        philox_round(key0, key1, b0, b1, b2, b3);
      }
      const int64_t i = lane + (lane & -kBlocks) * (kDropoutGroup / kBlocks - 1);
      of.apply_all(place, i, a0, a1, a2, a3);
      of.apply_all(place, i + width, b0, b1, b2, b3);
    }
  }

  // One vector, of which the group may have only some lanes.
  MFUGAKU_INLINE void run_one(const PhiloxStart& start, const Place& place, int64_t begin, int64_t length, int64_t lane,
                              int64_t width) const {
    U32 w0 = count_from(static_cast<uint32_t>(begin / kWords + lane)), w1, w2, w3;
    philox_start(start, keys, w0, w1, w2, w3);
#pragma GCC unroll 10
    for (int round = kPhiloxStartRounds; round < kPhiloxRounds; ++round)
      philox_round(broadcast(keys.low[round]), broadcast(keys.high[round]), w0, w1, w2, w3);
    const int64_t used = kBlocks - lane < width ? kBlocks - lane : width;
    const auto apply_part = [&](int64_t w, U32 word) __attribute__((always_inline, nothrow)) {
      const int64_t i = w * kBlocks + lane, left = length - i;
      if (left > 0) apply(place, i, word, First{left < used ? left : used});
    };
    apply_part(0, w0);
    apply_part(1, w1);
    apply_part(2, w2);
    apply_part(3, w3);
  }

  void run(int64_t begin, int64_t end) const {
    constexpr int64_t kAlike = int64_t{1} << 34;  // elements whose blocks have one high word
    const int64_t width = lanes();
    Element copy[kDropoutGroup];
    while (begin < end) {
      int64_t num_groups;
      const Element* const bias = find_bias(begin, copy, num_groups);
      if (kBlocks % (2 * width) == 0 && end - begin >= kDropoutGroup) {
        const int64_t next = begin - begin % kAlike + kAlike, whole = end - end % kDropoutGroup;
        int64_t limit = next < whole ? next : whole;
        if (num_groups < (limit - begin) / kDropoutGroup) limit = begin + num_groups * kDropoutGroup;
        run_groups(*this, bias, begin, limit);
        begin = limit;
        continue;
      }
      const int64_t length = end - begin < kDropoutGroup ? end - begin : kDropoutGroup;
      const PhiloxStart start = start_of(begin);
      const Place place = place_of(begin, bias);
      for (int64_t lane = 0; lane < kBlocks; lane += width) run_one(start, place, begin, length, lane, width);
      begin += length;
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
