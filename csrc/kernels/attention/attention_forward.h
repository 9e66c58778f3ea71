// The forward pass of attention, over the names of vec/vec.h. See attention.h.
//
// Scores lie as [key, query]: a vector holds one key's scores with successive queries, so maxima and sums over keys
// need no reduction within a vector, and the probabilities are, as they lie, an operand of the product with the values.
#pragma once

#include <initializer_list>

#include "kernels/attention/attention_parts.h"

namespace mfugaku::kernels {
namespace {

// Which of a block's keys the queries of a vector see.
struct VisibleKeys {
  static constexpr int64_t kRows = 8;  // keys at a time

  const AttentionJob& job;
  int64_t key, num_keys;  // of the block; those that some query of the panel sees
  int64_t query;          // of the vector's first lane

  // Keys that all queries see, in whole groups.
  MFUGAKU_INLINE int64_t num_clear() const {
    const int64_t last = query + job.num_keys - job.num_queries;  // of the first query
    return (job.is_causal ? least(num_keys, most(0, last + 1 - key)) : num_keys) / kRows * kRows;
  }
  // The queries that see a key of the block; none where `row` is behind its end.
  MFUGAKU_INLINE Mask sees(int64_t row) const {
    const int64_t first = job.is_causal ? most(0, key + row - (job.num_keys - job.num_queries)) : 0;
    return not_below(count_from(static_cast<uint32_t>(query)),
                     broadcast(row < num_keys ? static_cast<uint32_t>(first) : ~0u));
  }
};

// The scores of one block of keys with one vector of queries become probabilities, but for the factor of each query.
struct Softmax : VisibleKeys {
  const DropoutWords& words;
  float* scores;  // of the vector's first lane

  template <bool is_masked> MFUGAKU_INLINE F32 score(int64_t row) const {
    const F32 value = load(Float32{}, scores + row * tile_columns(), All{});
    return is_masked ? choose(sees(row), value, broadcast(kLowest)) : value;
  }

  template <bool is_masked> MFUGAKU_INLINE F32 largest(int64_t begin, int64_t end, F32 high) const {
    for (int64_t row = begin; row < end; row += 4) {
      const F32 a = at_least(score<is_masked>(row), score<is_masked>(row + 1));
      const F32 b = at_least(score<is_masked>(row + 2), score<is_masked>(row + 3));
      high = at_least(at_least(a, b), high);
    }
    return high;
  }

  template <bool is_masked> MFUGAKU_INLINE F32 probability(int64_t row, F32 scale, F32 by) const {
    const F32 p = power(load(Float32{}, scores + row * tile_columns(), All{}), scale, by);
    return is_masked ? keep(sees(row), p) : p;
  }
  template <bool has_dropout> MFUGAKU_INLINE void put(int64_t row, F32 p, U32 word) const {
    store(Float32{}, scores + row * tile_columns(),
          has_dropout ? keep(not_below(word, broadcast(job.threshold)), p) : p, All{});
  }
  template <bool is_masked, bool has_dropout>
  MFUGAKU_INLINE F32 four(int64_t row, F32 scale, F32 by, U32 w0, U32 w1, U32 w2, U32 w3) const {
    const F32 p0 = probability<is_masked>(row, scale, by), p1 = probability<is_masked>(row + 1, scale, by);
    const F32 p2 = probability<is_masked>(row + 2, scale, by), p3 = probability<is_masked>(row + 3, scale, by);
    put<has_dropout>(row, p0, w0);
    put<has_dropout>(row + 1, p1, w1);
    put<has_dropout>(row + 2, p2, w2);
    put<has_dropout>(row + 3, p3, w3);
    return add(add(p0, p1), add(p2, p3));
  }
  // Returns the sum of the probabilities before dropout.
  template <bool is_masked, bool has_dropout>
  MFUGAKU_INLINE F32 to_probabilities(int64_t begin, int64_t end, F32 by, F32 total) const {
    const F32 scale = broadcast(job.scale);
    for (int64_t row = begin; row < end; row += kRows) {
      U32 a0 = broadcast(0u), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
      if (has_dropout) words.two(query, (key + row) / kWordsOfPhilox, a0, a1, a2, a3, b0, b1, b2, b3);
      const F32 first = four<is_masked, has_dropout>(row, scale, by, a0, a1, a2, a3);
      const F32 second = four<is_masked, has_dropout>(row + 4, scale, by, b0, b1, b2, b3);
      total = add(total, add(first, second));
    }
    return total;
  }

  // Renews the largest score and the sum of each query; `factors`: what sums so far are to be multiplied by.
  template <bool has_dropout> void run(float* maxima, float* totals, float* factors) const {
    const int64_t clear = num_clear();
    const F32 before = load(Float32{}, maxima, All{});
    const F32 high = largest<true>(clear, num_keys, largest<false>(0, clear, before));
    const F32 by = mul(broadcast(-job.scale), high), by_before = mul(broadcast(-job.scale), before);
    // Exactly 1 where the largest stays: a panel may show a query keys that it does not see, and another not.
    const F32 factor = exp(at_least(sub(by, by_before), broadcast(kLeastPower)));
    F32 total = mul(load(Float32{}, totals, All{}), factor);
    total = to_probabilities<false, has_dropout>(0, clear, by, total);
    total = to_probabilities<true, has_dropout>(clear, num_keys, by, total);
    store(Float32{}, maxima, high, All{});
    store(Float32{}, totals, total, All{});
    store(Float32{}, factors, factor, All{});
  }
};

struct ForwardScratch {
  float *queries, *scores, *sums, *maxima, *totals, *factors;

  ForwardScratch(Cutter& cutter, int64_t width) {
    const int64_t columns = tile_columns();
    queries = cutter.take(width * columns);
    // A tile of rows may reach behind the last column, and its last row behind the end.
    scores = cutter.take(kBlock * columns + kTileRows);
    sums = cutter.take(columns * padded(width));
    for (float** const state : {&maxima, &totals, &factors}) *state = cutter.take(columns);
  }
};

MFUGAKU_INLINE void multiply_sums(float* sums, const float* factors, int64_t num_rows, int64_t width) {
  for (int64_t i = 0; i < num_rows; ++i, sums += padded(width)) {
    if (factors[i] == 1.0f) continue;
    const F32 by = broadcast(factors[i]);
    for (int64_t column = 0; column < width; column += lanes())
      store(Float32{}, sums + column, mul(load(Float32{}, sums + column, All{}), by), All{});
  }
}

template <typename Format> void attention_forward(const AttentionJob& job, int64_t head, int64_t panel, float* memory) {
  Cutter cutter(memory);
  const ForwardScratch scratch(cutter, job.width);
  const int64_t columns = tile_columns(), query = panel * columns, count = least(columns, job.num_queries - query);
  pack_panel(rows_of<Format>(job.query, head, query, count, job.width), columns, scratch.queries);
  float *const maxima = scratch.maxima, *const totals = scratch.totals, *const factors = scratch.factors;
  for (int64_t i = 0; i < columns; ++i) maxima[i] = kLowest, totals[i] = 0.0f;

  const int64_t key_head = head / job.group;
  const float* const keys = job.key_rows + key_head * rounded_up(job.num_keys, kTileRows) * job.width;
  const float* const values = job.value_blocks + key_head * job.num_keys * padded(job.width);
  const int64_t limit = job.is_causal ? query + count + job.num_keys - job.num_queries : job.num_keys;
  float *const scores = scratch.scores, *const sums = scratch.sums;
  const DropoutWords words(job, head);
  for (int64_t key = 0; key < limit; key += kBlock) {
    const int64_t num_keys = least(kBlock, limit - key);
    multiply_rows(keys + key * job.width, scratch.queries, job.width, num_keys, scores);
    for (int64_t lane = 0; lane < columns; lane += lanes()) {
      const Softmax softmax = {{job, key, num_keys, query + lane}, words, scores + lane};
      if (job.threshold != 0) softmax.run<true>(maxima + lane, totals + lane, factors + lane);
      else softmax.run<false>(maxima + lane, totals + lane, factors + lane);
    }
    if (key > 0) multiply_sums(sums, factors, count, job.width);
    accumulate_rows(scores, values + key * padded(job.width), least(kBlock, job.num_keys - key), 0, num_keys, job.width,
                    key == 0, sums);
  }

  float* const statistics = job.statistics + head * job.num_queries + query;
  for (int64_t lane = 0; lane < columns; lane += lanes()) {
    const F32 inverse = reciprocal(load(Float32{}, totals + lane, All{}));
    store(Float32{}, factors + lane, inverse, All{});
    store_part(Float32{}, statistics + lane, load(Float32{}, maxima + lane, All{}), count - lane);
    store_part(Float32{}, statistics + job.num_heads * job.num_queries + lane, inverse, count - lane);
  }
  const float kept = job.threshold != 0 ? job.keep_scale : 1.0f;
  store_rows<Format>(job.out, head, query, count, job.width, sums, [&](int64_t i) { return factors[i] * kept; });
}

}  // namespace
}  // namespace mfugaku::kernels
