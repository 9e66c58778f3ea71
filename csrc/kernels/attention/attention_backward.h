// The backward pass of attention, over the names of vec/vec.h. See attention.h.
//
// With p the probabilities, m the mask of dropout with its factor, g the gradient of out:
//   value_gradient = (m p)^T g,   d = p (m (g value^T) - sum(out g)),   query_gradient = scale d key,
//   key_gradient = scale d^T query
#pragma once

#include <initializer_list>

#include "kernels/attention/attention_parts.h"

namespace mfugaku::kernels {
namespace {

constexpr int64_t kGranule = kAttentionGranule;
// The keys of a granule that are worked on at a time, and the columns that they take.
MFUGAKU_INLINE int64_t keys_at_a_time() { return least(kGranule, tile_columns()); }
MFUGAKU_INLINE int64_t columns_of_granule() { return most(kGranule, tile_columns()); }

template <typename Format>
void attention_project(const AttentionJob& job, int64_t head, int64_t panel, float* memory) {
  const int64_t columns = tile_columns(), query = panel * columns, count = least(columns, job.num_queries - query);
  Cutter cutter(memory);
  float *const gradients = cutter.take(job.width * columns), *const outs = cutter.take(job.width * columns);
  pack_panel(rows_of<Format>(job.out_gradient, head, query, count, job.width), columns, gradients);
  pack_panel(rows_of<Format>(job.out, head, query, count, job.width), columns, outs);
  for (int64_t lane = 0; lane < columns; lane += lanes()) {
    F32 sum = broadcast(0.0f);
    for (int64_t k = 0; k < job.width; ++k)
      sum = fma(load(Float32{}, gradients + k * columns + lane, All{}),
                load(Float32{}, outs + k * columns + lane, All{}), sum);
    store_part(Float32{}, job.projection + head * job.num_queries + query + lane, sum, count - lane);
  }
}

MFUGAKU_INLINE float* sums_of_queries(const AttentionJob& job, int64_t group, int64_t head) {
  return job.query_sums + (group * job.num_heads + head) * job.num_queries * padded(job.width);
}

template <typename Format>
void attention_sum_queries(const AttentionJob& job, int64_t head, int64_t panel, float*) {
  const int64_t columns = tile_columns(), query = panel * columns, count = least(columns, job.num_queries - query);
  float* const sums = sums_of_queries(job, 0, head) + query * padded(job.width);
  const int64_t to_next = sums_of_queries(job, 1, head) - sums_of_queries(job, 0, head);
  for (int64_t row = 0; job.num_groups > 1 && row < count; ++row)
    for (int64_t column = 0; column < job.width; column += lanes()) {
      float* const at = sums + row * padded(job.width) + column;
      F32 sum = load(Float32{}, at, All{});
      for (int64_t group = 1; group < job.num_groups; ++group)
        sum = add(sum, load(Float32{}, at + group * to_next, All{}));
      store(Float32{}, at, sum, All{});
    }
  store_rows<Format>(job.query_gradient, head, query, count, job.width, sums, [&](int64_t) { return job.scale; });
}

struct BackwardScratch {
  float *keys, *values, *scores, *products, *factors, *interleaved, *by_rows, *key_sums, *value_sums;

  BackwardScratch(Cutter& cutter, int64_t width) {
    const int64_t columns = tile_columns();
    for (float** const panels : {&keys, &values}) *panels = cutter.take(width * columns_of_granule());
    // A tile of rows may reach behind the last column, and its last row behind the end.
    for (float** const block : {&scores, &products, &factors}) *block = cutter.take(kBlock * columns + kTileRows);
    interleaved = cutter.take(kGroup * lanes());
    by_rows = cutter.take(kBlock * kGranule);
    for (float** const sums : {&key_sums, &value_sums}) *sums = cutter.take(columns_of_granule() * padded(width));
  }
};

// A panel of keys with a block of queries: scores lie as [query, key].
struct Gradients {
  const AttentionJob& job;
  int64_t head, query, num_queries;  // of the block
  int64_t key;                       // of the panel
  float* scores;
  float* products;     // g value^T, like the scores
  float* factors;      // of dropout, like the scores
  float* interleaved;  // room for a vector of queries by four keys

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
    interleave_four(f0, f1, f2, f3, interleaved, width);
    const int64_t begin = most(first, key) - first, end = least(first + kWordsOfPhilox, key + columns) - first;
    const int64_t num_rows = least(width, num_queries - row);
    float* to = factors + row * columns + first - key;
    if (end - begin == kWordsOfPhilox) {
      for (int64_t i = 0; i < num_rows; ++i, to += columns)
        __builtin_memcpy(to, interleaved + kWordsOfPhilox * i, kWordsOfPhilox * sizeof(float));
    } else {
      for (int64_t i = 0; i < num_rows; ++i, to += columns)
        for (int64_t k = begin; k < end; ++k) to[k] = interleaved[kWordsOfPhilox * i + k];
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

// by_rows[panel of rows][key of granule][row] of products[row][key]: what a product over the keys takes.
MFUGAKU_INLINE void turn_rows(const float* products, int64_t num_rows, int64_t first_key, int64_t num_keys,
                              float* by_rows) {
  const int64_t columns = tile_columns();
  for (int64_t row = 0; row < num_rows; row += kTileRows)
    pack_tile<Float32>({products + row * columns, columns, 1, least(kTileRows, num_rows - row), num_keys},
                       by_rows + row * kGranule + first_key * kTileRows);
}

// sums[row][column] += (or =) sum over keys of by_rows[key][row] * block[key][column].
MFUGAKU_INLINE void accumulate_keys(const float* by_rows, int64_t num_rows, const float* block, int64_t rows_of_block,
                                    int64_t skipped, int64_t num_keys, int64_t width, bool is_first, float* sums) {
  const int64_t columns = tile_columns(), stride = padded(width);
  for (int64_t column = 0; column < width; column += columns) {
    const float* const panel = block + column * rows_of_block + skipped * columns;
    for (int64_t row = 0; row < num_rows; row += kTileRows) {
      const TileSide<Float32> after = {sums + row * stride + column, stride};
      const TileSide<Float32> before = {is_first ? nullptr : after.first, stride};
      const float* const rows = by_rows + row * kGranule;
      with_part<true>(least(kTileRows, num_rows - row), least(columns, width - column), [&](auto part) {
        run_tile(rows, PanelStep{}, panel, num_keys, before, after, 1.0f, part);
      });
    }
  }
}

// One granule of keys with all queries that see it. `is_first`: of its group, whose sums of queries begin with it.
template <typename Format> void run_granule(const AttentionJob& job, int64_t key_head, int64_t group, int64_t granule,
                                            bool is_first, const BackwardScratch& scratch) {
  const int64_t columns = tile_columns(), step = keys_at_a_time(), width = job.width, stride = padded(width);
  const int64_t key = granule * kGranule, num_keys = least(kGranule, job.num_keys - key);
  for (int64_t first = 0; first < num_keys; first += step) {
    const int64_t count = least(step, num_keys - first);
    pack_panel(rows_of<Format>(job.key, key_head, key + first, count, width), columns, scratch.keys + first * width);
    pack_panel(rows_of<Format>(job.value, key_head, key + first, count, width), columns, scratch.values + first * width);
  }
  const int64_t key_block = key / kBlock * kBlock;
  const float* const key_rows = job.key_blocks + (key_head * job.num_keys + key_block) * stride;
  const int64_t rows_of_key_block = least(kBlock, job.num_keys - key_block);
  bool is_first_block = true;
  // The first query that sees the first of these keys, at a tile.
  const int64_t seen_from = job.is_causal ? most(0, key - (job.num_keys - job.num_queries)) / kTileRows * kTileRows : 0;
  for (int64_t head = key_head * job.group; head < (key_head + 1) * job.group; ++head) {
    const DropoutWords words(job, head);
    float* const query_sums = sums_of_queries(job, group, head);
    if (is_first)
      __builtin_memset(query_sums, 0, static_cast<size_t>(least(seen_from, job.num_queries) * stride) * sizeof(float));
    const int64_t rows_of_head = rounded_up(job.num_queries, kTileRows) * width;
    for (int64_t block = seen_from / kBlock * kBlock; block < job.num_queries; block += kBlock) {
      const int64_t rows_of_block = least(kBlock, job.num_queries - block), skipped = most(0, seen_from - block);
      const int64_t query = block + skipped, num_queries = rows_of_block - skipped;
      const int64_t at = head * rows_of_head + query * width, at_block = (head * job.num_queries + block) * stride;
      for (int64_t first = 0; first < num_keys; first += step) {
        multiply_rows(job.query_rows + at, scratch.keys + first * width, width, num_queries, scratch.scores);
        multiply_rows(job.gradient_rows + at, scratch.values + first * width, width, num_queries, scratch.products);
        const Gradients part = {job,           head,           query,           num_queries,        key + first,
                                scratch.scores, scratch.products, scratch.factors, scratch.interleaved};
        if (job.threshold != 0) {
          part.find_factors(words);
          part.run<true>();
        } else {
          part.run<false>();
        }
        accumulate_rows(scratch.scores, job.gradient_blocks + at_block, rows_of_block, skipped, num_queries, width,
                        is_first_block, scratch.value_sums + first * stride);
        accumulate_rows(scratch.products, job.query_blocks + at_block, rows_of_block, skipped, num_queries, width,
                        is_first_block, scratch.key_sums + first * stride);
        turn_rows(scratch.products, num_queries, first, least(step, num_keys - first), scratch.by_rows);
      }
      is_first_block = false;
      accumulate_keys(scratch.by_rows, num_queries, key_rows, rows_of_key_block, key - key_block, num_keys, width,
                      is_first, query_sums + query * stride);
    }
  }
  if (is_first_block)  // nobody sees these keys
    for (float* const sums : {scratch.key_sums, scratch.value_sums})
      __builtin_memset(sums, 0, static_cast<size_t>(num_keys * stride) * sizeof(float));
  store_rows<Format>(job.value_gradient, key_head, key, num_keys, width, scratch.value_sums,
                     [](int64_t) { return 1.0f; });
  store_rows<Format>(job.key_gradient, key_head, key, num_keys, width, scratch.key_sums,
                     [&](int64_t) { return job.scale; });
}

template <typename Format>
void attention_backward(const AttentionJob& job, int64_t key_head, int64_t group, float* memory) {
  Cutter cutter(memory);
  const BackwardScratch scratch(cutter, job.width);
  for (int64_t i = job.first_granule[group]; i < job.first_granule[group + 1]; ++i)
    run_granule<Format>(job, key_head, group, job.granules[i], i == job.first_granule[group], scratch);
}

}  // namespace
}  // namespace mfugaku::kernels
