// Attention of Transformers without the matrix of scores, forward and backward, with causal mask and dropout inside:
//
//   out = dropout(softmax(scale * query key^T)) value
//
// in one pass over the keys for each panel of queries, with running maxima and sums (Milakov and Gimelshein, "Online
// normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022). Memory is in proportion to the number
// of queries and keys. Arithmetic is float32, whatever the storage; results have the same bits on every instruction set
// and for any number of threads.
//
// A head here is one of the batch's: batch times heads of the model on this process. `group` successive heads share the
// keys and values of one key head. A query i sees the keys up to i + num_keys - num_queries when is_causal, so num_keys
// >= num_queries then. num_keys > 0, scale > 0.
//
// Dropout keeps the probability of (head, query i, key j) when word j mod 4 of Philox4x32-10 is at least `threshold`,
// for the counter (i, j div 4, number of the head, offset) and the key `seed`; the number of a head is its place among
// the heads of the whole model, all sequences of the batch after each other. So a mask does not depend on how heads are
// spread.
//
// Backward needs each score once: a task has some of the keys of a head, and adds to the gradients of all queries that
// see them. What the tasks of a head add lies apart until it is summed, and which keys are whose depends on shapes alone,
// so results do not depend on threads.
//
// The caller owns memory and threads. It packs what a pass needs, in any ranges on any threads, and then runs the tasks
// of the pass in any order on any threads, each with a scratch memory of its own: forward; or `project`, when all those
// have ended `backward`, and then `sum_queries`. Pointers need the alignment of their element only.
#pragma once

#include <cstdint>

#include "kernels/gemm/gemm.h"

namespace mfugaku::kernels {

// Keys, or queries in `backward`, whose scores exist at a time. A multiple of every tile; sums do not depend on
// tiles, but maxima are renewed after so many keys, and that must be the same everywhere.
inline constexpr int64_t kAttentionBlock = 192;
// Keys that belong together backward. A multiple of every tile up to that of 512 bits; divides a block.
inline constexpr int64_t kAttentionGranule = 48;

// [length, head, width] in any order of memory, but the elements of the width are contiguous. Strides in elements.
struct AttentionMatrix {
  void* data;
  int64_t row_stride, head_stride;
};

struct AttentionJob {
  int64_t num_heads, group;
  int64_t num_queries, num_keys, width;
  bool is_causal;
  float scale;

  uint32_t threshold;  // 0: no dropout
  float keep_scale;    // what kept probabilities are multiplied by
  uint64_t seed;
  uint32_t offset;
  int64_t heads_per_sequence, heads_of_model, first_head;

  AttentionMatrix query, key, value, out;
  AttentionMatrix out_gradient, query_gradient, key_gradient, value_gradient;
  // [2, num_heads, num_queries]: the largest score of each query, and 1 / sum of e^(scale * (score - largest)).
  float* statistics;
  float* projection;  // [num_heads, num_queries]: sum of out * out_gradient; while backward runs

  // Panels of tile_rows rows [head, panel, width, tile_rows], and blocks of kAttentionBlock rows as panels of
  // tile_columns columns [head, block, panel, row of block, tile_columns].
  const float *key_rows, *query_rows, *gradient_rows;
  const float *key_blocks, *value_blocks, *query_blocks, *gradient_blocks;

  // Backward: the granules of group i of a key head are granules[first_granule[i]] and on, ascending.
  int64_t num_groups;
  const int64_t *granules, *first_granule;
  // [num_groups, num_heads, num_queries, width rounded up to tile_columns].
  float* query_sums;
};

struct AttentionPackJob {
  AttentionMatrix matrix;
  int64_t num_heads, length, width;
  float* packed;
};

struct AttentionKernels {
  static constexpr const char* kOp = "attention";
  using Pack = void (*)(const AttentionPackJob& job, int64_t begin, int64_t end);
  using Task = void (*)(const AttentionJob& job, int64_t head, int64_t panel, float* scratch);
  int64_t tile_rows;
  int64_t (*tile_columns)();
  // By Storage: panels of rows in order of memory; blocks in order of memory.
  Pack pack_rows[3], pack_blocks[3];
  // Floats of scratch memory for one task, aligned to 64 bytes at best.
  int64_t (*scratch)(int64_t width);
  // A panel of tile_columns queries of one head. `forward` uses key_rows and value_blocks, fills `out` and
  // `statistics`; `project` fills `projection`; `sum_queries` makes query_gradient of query_sums.
  Task forward[3], project[3], sum_queries[3];
  // A group of granules of one key head; uses all of query_*, gradient_* and key_blocks, fills key_gradient,
  // value_gradient and the group's query_sums.
  Task backward[3];
};

extern const AttentionKernels attention_portable, attention_avx2, attention_avx512, attention_neon, attention_sve;

}  // namespace mfugaku::kernels
