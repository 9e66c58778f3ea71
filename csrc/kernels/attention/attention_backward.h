// The backward passes of attention, over the names of vec/vec.h. See attention.h.
//
// With p the probabilities, m the mask of dropout with its factor, g the gradient of out:
//   value_gradient = (m p)^T g,   d = p (m (g value^T) - sum(out g)),   query_gradient = scale d key,
//   key_gradient = scale d^T query
// Scores are computed again in both passes; that takes two products more than one pass would, and needs neither a
// matrix of scores nor sums whose order depends on the threads.
#pragma once

#include "kernels/attention/attention_parts.h"

namespace mfugaku::kernels {
namespace {

// A panel of queries: scores lie as [key, query], as in the forward pass.
struct QueryGradient : VisibleKeys {
  const DropoutWords& words;
  float* scores;          // of the vector's first lane
  const float* products;  // g value^T, like the scores

  template <bool has_dropout, bool is_masked>
  MFUGAKU_INLINE void one(int64_t row, F32 scale, F32 by, F32 inverse, F32 projection, U32 word) const {
    float* const at = scores + row * tile_columns();
    F32 p = mul(power(load(Float32{}, at, All{}), scale, by), inverse);
    if (is_masked) p = keep(sees(row), p);
    F32 product = load(Float32{}, products + row * tile_columns(), All{});
    if (has_dropout) product = keep(not_below(word, broadcast(job.threshold)), mul(product, broadcast(job.keep_scale)));
    store(Float32{}, at, mul(p, sub(product, projection)), All{});
  }
  template <bool has_dropout, bool is_masked>
  MFUGAKU_INLINE void run_rows(int64_t begin, int64_t end, F32 by, F32 inverse, F32 projection) const {
    const F32 scale = broadcast(job.scale);
    for (int64_t row = begin; row < end; row += kRows) {
      U32 a0 = broadcast(0u), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
      if (has_dropout) words.two(query, (key + row) / kWordsOfPhilox, a0, a1, a2, a3, b0, b1, b2, b3);
      one<has_dropout, is_masked>(row, scale, by, inverse, projection, a0);
      one<has_dropout, is_masked>(row + 1, scale, by, inverse, projection, a1);
      one<has_dropout, is_masked>(row + 2, scale, by, inverse, projection, a2);
      one<has_dropout, is_masked>(row + 3, scale, by, inverse, projection, a3);
      one<has_dropout, is_masked>(row + 4, scale, by, inverse, projection, b0);
      one<has_dropout, is_masked>(row + 5, scale, by, inverse, projection, b1);
      one<has_dropout, is_masked>(row + 6, scale, by, inverse, projection, b2);
      one<has_dropout, is_masked>(row + 7, scale, by, inverse, projection, b3);
    }
  }
  template <bool has_dropout> void run(F32 by, F32 inverse, F32 projection) const {
    const int64_t clear = num_clear();
    run_rows<has_dropout, false>(0, clear, by, inverse, projection);
    run_rows<has_dropout, true>(clear, num_keys, by, inverse, projection);
  }
};

template <typename Format>
void attention_backward_queries(const AttentionJob& job, int64_t head, int64_t panel, float* memory) {
  const Scratch scratch(memory, job.width);
  const int64_t columns = tile_columns(), query = panel * columns, count = least(columns, job.num_queries - query);
  float *const queries = scratch.panels[0], *const gradients = scratch.panels[1], *const outs = scratch.panels[2];
  pack_panel(rows_of<Format>(job.query, head, query, count, job.width), columns, queries);
  pack_panel(rows_of<Format>(job.out_gradient, head, query, count, job.width), columns, gradients);
  pack_panel(rows_of<Format>(job.out, head, query, count, job.width), columns, outs);
  const float* const statistics = job.statistics + head * job.num_queries + query;
  float *const maxima = scratch.states[0], *const inverses = scratch.states[1], *const projections = scratch.states[2];
  for (int64_t lane = 0; lane < columns; lane += lanes()) {
    F32 sum = broadcast(0.0f);
    for (int64_t k = 0; k < job.width; ++k)
      sum = fma(load(Float32{}, gradients + k * columns + lane, All{}),
                load(Float32{}, outs + k * columns + lane, All{}), sum);
    store(Float32{}, projections + lane, sum, All{});
    store_part(Float32{}, job.projection + head * job.num_queries + query + lane, sum, count - lane);
    const F32 high = load_part(Float32{}, statistics + lane, count - lane);
    store(Float32{}, maxima + lane, mul(broadcast(-job.scale), high), All{});
    store(Float32{}, inverses + lane,
          load_part(Float32{}, statistics + job.num_heads * job.num_queries + lane, count - lane), All{});
  }

  const int64_t key_head = head / job.group, rows_of_head = rounded_up(job.num_keys, kTileRows) * job.width;
  const float* const keys = job.key_rows + key_head * rows_of_head;
  const float* const values = job.value_rows + key_head * rows_of_head;
  const float* const blocks = job.key_blocks + key_head * job.num_keys * padded(job.width);
  const int64_t limit = job.is_causal ? query + count + job.num_keys - job.num_queries : job.num_keys;
  float *const scores = scratch.scores[0], *const products = scratch.scores[1], *const sums = scratch.sums[0];
  const DropoutWords words(job, head);
  for (int64_t key = 0; key < limit; key += kBlock) {
    const int64_t num_keys = least(kBlock, limit - key);
    multiply_rows(keys + key * job.width, queries, job.width, num_keys, scores);
    multiply_rows(values + key * job.width, gradients, job.width, num_keys, products);
    for (int64_t lane = 0; lane < columns; lane += lanes()) {
      const QueryGradient part = {{job, key, num_keys, query + lane}, words, scores + lane, products + lane};
      const F32 by = load(Float32{}, maxima + lane, All{}), inverse = load(Float32{}, inverses + lane, All{});
      const F32 projection = load(Float32{}, projections + lane, All{});
      if (job.threshold != 0) part.run<true>(by, inverse, projection);
      else part.run<false>(by, inverse, projection);
    }
    accumulate_rows(scores, blocks + key * padded(job.width), least(kBlock, job.num_keys - key), 0, num_keys, job.width,
                    key == 0, sums);
  }
  store_rows<Format>(job.query_gradient, head, query, count, job.width, sums, [&](int64_t) { return job.scale; });
}

// A panel of keys: scores lie as [query, key].
struct KeyGradient {
  const AttentionJob& job;
  int64_t head, query, num_queries;  // of a block
  int64_t key;                       // of the panel
  float* scores;
  float* products;    // g value^T, like the scores
  float* factors;     // of dropout, like the scores
  float* transposed;  // room for a vector of queries by four keys

  // The factors of the mask, which one call makes for four keys of a vector of queries.
  void find_factors(const DropoutWords& words) const {
    const int64_t columns = tile_columns(), width = lanes();
    const F32 kept = broadcast(job.keep_scale);
    const U32 bound = broadcast(job.threshold);
    for (int64_t first = key / kWordsOfPhilox * kWordsOfPhilox; first < key + columns; first += 2 * kWordsOfPhilox)
      for (int64_t row = 0; row < num_queries; row += width) {
        U32 a0, a1, a2, a3, b0, b1, b2, b3;
        words.two(query + row, first / kWordsOfPhilox, a0, a1, a2, a3, b0, b1, b2, b3);
        put_factors(keep(not_below(a0, bound), kept), keep(not_below(a1, bound), kept),
                    keep(not_below(a2, bound), kept), keep(not_below(a3, bound), kept), row, first);
        put_factors(keep(not_below(b0, bound), kept), keep(not_below(b1, bound), kept),
                    keep(not_below(b2, bound), kept), keep(not_below(b3, bound), kept), row, first + kWordsOfPhilox);
      }
  }
  MFUGAKU_INLINE void put_factors(F32 f0, F32 f1, F32 f2, F32 f3, int64_t row, int64_t first) const {
    const int64_t columns = tile_columns(), width = lanes();
    interleave_four(f0, f1, f2, f3, transposed);
    const int64_t begin = most(first, key) - first, end = least(first + kWordsOfPhilox, key + columns) - first;
    const int64_t num_rows = least(width, num_queries - row);
    float* to = factors + row * columns + first - key;
    if (end - begin == kWordsOfPhilox) {
      for (int64_t i = 0; i < num_rows; ++i, to += columns)
        __builtin_memcpy(to, transposed + kWordsOfPhilox * i, kWordsOfPhilox * sizeof(float));
    } else {
      for (int64_t i = 0; i < num_rows; ++i, to += columns)
        for (int64_t k = begin; k < end; ++k) to[k] = transposed[kWordsOfPhilox * i + k];
    }
  }

  // scores: probabilities after dropout; products: d, but for the scale.
  template <bool has_dropout, bool is_masked>
  MFUGAKU_INLINE void one(int64_t at, int64_t lane, F32 scale, F32 by, F32 inverse, F32 projection, U32 last) const {
    F32 p = mul(power(load(Float32{}, scores + at + lane, All{}), scale, by), inverse);
    if (is_masked) p = keep(not_below(last, count_from(static_cast<uint32_t>(key + lane))), p);
    F32 product = load(Float32{}, products + at + lane, All{});
    F32 dropped = p;
    if (has_dropout) {
      const F32 factor = load(Float32{}, factors + at + lane, All{});
      product = mul(product, factor);
      dropped = mul(p, factor);
    }
    store(Float32{}, scores + at + lane, dropped, All{});
    store(Float32{}, products + at + lane, mul(p, sub(product, projection)), All{});
  }
  template <bool has_dropout, bool is_masked> void run_rows(int64_t begin, int64_t end) const {
    const int64_t width = lanes(), columns = tile_columns(), first = head * job.num_queries + query;
    const float *const high = job.statistics + first, *const inverses = high + job.num_heads * job.num_queries;
    const float* const projections = job.projection + first;
    const float scale = job.scale;
    for (int64_t row = begin; row < end; ++row) {
      const F32 scales = broadcast(scale), by = broadcast(-scale * high[row]), inverse = broadcast(inverses[row]);
      const F32 projection = broadcast(projections[row]);
      // The last key that the query sees.
      const U32 last = broadcast(static_cast<uint32_t>(query + row + job.num_keys - job.num_queries));
      one<has_dropout, is_masked>(row * columns, 0, scales, by, inverse, projection, last);
      one<has_dropout, is_masked>(row * columns, width, scales, by, inverse, projection, last);
      one<has_dropout, is_masked>(row * columns, 2 * width, scales, by, inverse, projection, last);
    }
  }
  template <bool has_dropout> void run() const {
    // From this row on queries see all keys of the panel.
    const int64_t clear = key + tile_columns() - 1 - (job.num_keys - job.num_queries) - query;
    const int64_t masked = job.is_causal ? least(num_queries, most(0, clear)) : 0;
    run_rows<has_dropout, true>(0, masked);
    run_rows<has_dropout, false>(masked, num_queries);
  }
};

template <typename Format>
void attention_backward_keys(const AttentionJob& job, int64_t key_head, int64_t panel, float* memory) {
  const Scratch scratch(memory, job.width);
  const int64_t columns = tile_columns(), key = panel * columns, count = least(columns, job.num_keys - key);
  float *const keys = scratch.panels[0], *const values = scratch.panels[1];
  pack_panel(rows_of<Format>(job.key, key_head, key, count, job.width), columns, keys);
  pack_panel(rows_of<Format>(job.value, key_head, key, count, job.width), columns, values);
  float *const scores = scratch.scores[0], *const products = scratch.scores[1];
  bool is_first = true;
  // The first query that sees the first of these keys, at a tile.
  const int64_t seen_from = job.is_causal ? most(0, key - (job.num_keys - job.num_queries)) / kTileRows * kTileRows : 0;
  for (int64_t head = key_head * job.group; head < (key_head + 1) * job.group; ++head) {
    const DropoutWords words(job, head);
    const int64_t rows_of_head = rounded_up(job.num_queries, kTileRows) * job.width;
    const int64_t blocks_of_head = job.num_queries * padded(job.width);
    for (int64_t block = seen_from / kBlock * kBlock; block < job.num_queries; block += kBlock) {
      const int64_t rows_of_block = least(kBlock, job.num_queries - block), skipped = most(0, seen_from - block);
      const int64_t query = block + skipped, num_queries = rows_of_block - skipped;
      multiply_rows(job.query_rows + head * rows_of_head + query * job.width, keys, job.width, num_queries, scores);
      multiply_rows(job.gradient_rows + head * rows_of_head + query * job.width, values, job.width, num_queries,
                    products);
      const KeyGradient part = {
          job, head, query, num_queries, key, scores, products, scratch.scores[2], scratch.scores[3]};
      if (job.threshold != 0) {
        part.find_factors(words);
        part.run<true>();
      } else {
        part.run<false>();
      }
      const int64_t at = head * blocks_of_head + block * padded(job.width);
      accumulate_rows(scores, job.gradient_blocks + at, rows_of_block, skipped, num_queries, job.width, is_first,
                      scratch.sums[0]);
      accumulate_rows(products, job.query_blocks + at, rows_of_block, skipped, num_queries, job.width, is_first,
                      scratch.sums[1]);
      is_first = false;
    }
  }
  for (int64_t i = 0; is_first && i < columns * padded(job.width); ++i) scratch.sums[0][i] = scratch.sums[1][i] = 0.0f;
  store_rows<Format>(job.value_gradient, key_head, key, count, job.width, scratch.sums[0],
                     [](int64_t) { return 1.0f; });
  store_rows<Format>(job.key_gradient, key_head, key, count, job.width, scratch.sums[1],
                     [&](int64_t) { return job.scale; });
}

}  // namespace
}  // namespace mfugaku::kernels
