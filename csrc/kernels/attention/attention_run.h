// A whole pass of attention from the kernels of attention.h: packing, then tasks that are dealt to the threads by their
// work.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/attention/attention.h"

namespace mfugaku::kernels {

// Deals tasks of given weights to threads by MULTIFIT (Coffman, Garey and Johnson, "An application of bin-packing to
// multiprocessor scheduling", 1978): the least load is sought within which first fit, heaviest first, finds room for
// all. A causal mask gives panels of very different weight, and a number of panels that the number of threads does not
// divide.
std::vector<std::vector<int64_t>> deal_tasks(const std::vector<int64_t>& weights, int64_t num_threads);

// The granules of a key head in groups of about equal work, as AttentionJob has them. There are as many groups as let 48
// threads share all heads evenly, as far as that is to be had from at most 16; a group costs memory for all queries.
struct GranuleGroups {
  std::vector<int64_t> granules, first_granule, weights;  // the weights by group, in queries times granules

  explicit GranuleGroups(const AttentionJob& job);
};

class AttentionPlan {
 public:
  // `job` has all but the packed matrices and what backward needs beside its tensors.
  AttentionPlan(const AttentionKernels& kernels, const AttentionJob& job, Storage storage, int64_t num_threads)
      : kernels_(kernels), job_(job), groups_(job), storage_(static_cast<int>(storage)), num_threads_(num_threads) {}

  // Floats of memory, aligned to 64 bytes at best.
  int64_t forward_workspace() const { return rows_size(keys()) + blocks_size(keys()) + scratch_size(); }
  int64_t backward_workspace() const {
    return 2 * rows_size(queries()) + 2 * blocks_size(queries()) + blocks_size(keys()) + sums_size() + scratch_size();
  }

  // `parallel(count, grain, body)` as GemmPlan::run takes it; `between()` is called between two tasks, on any thread.
  template <typename Parallel, typename Between>
  void forward(float* workspace, const Parallel& parallel, const Between& between) {
    job_.key_rows = pack(kernels_.pack_rows[storage_], job_.key, keys(), false, workspace, parallel);
    job_.value_blocks = pack(kernels_.pack_blocks[storage_], job_.value, keys(), true, workspace, parallel);
    run_tasks(kernels_.forward[storage_], panels_of_queries(true), workspace, parallel, between);
  }

  template <typename Parallel, typename Between>
  void backward(float* workspace, const Parallel& parallel, const Between& between) {
    float* next = workspace;
    job_.query_rows = pack(kernels_.pack_rows[storage_], job_.query, queries(), false, next, parallel);
    job_.gradient_rows = pack(kernels_.pack_rows[storage_], job_.out_gradient, queries(), false, next, parallel);
    job_.query_blocks = pack(kernels_.pack_blocks[storage_], job_.query, queries(), true, next, parallel);
    job_.gradient_blocks = pack(kernels_.pack_blocks[storage_], job_.out_gradient, queries(), true, next, parallel);
    job_.key_blocks = pack(kernels_.pack_blocks[storage_], job_.key, keys(), true, next, parallel);
    job_.query_sums = next;
    next += sums_size();
    job_.num_groups = num_groups();
    job_.granules = groups_.granules.data();
    job_.first_granule = groups_.first_granule.data();
    run_tasks(kernels_.project[storage_], panels_of_queries(false), next, parallel, between);
    run_tasks(kernels_.backward[storage_], {keys().num_heads, groups_.weights}, next, parallel, between);
    run_tasks(kernels_.sum_queries[storage_], panels_of_queries(false), next, parallel, between);
  }

 private:
  struct Side {
    int64_t num_heads, length;
  };
  Side keys() const { return {job_.num_heads / job_.group, job_.num_keys}; }
  Side queries() const { return {job_.num_heads, job_.num_queries}; }

  static int64_t rounded_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
  int64_t rows_size(Side side) const {
    return rounded_up(side.num_heads * rounded_up(side.length, kernels_.tile_rows) * job_.width, 16);
  }
  int64_t blocks_size(Side side) const {
    return rounded_up(side.num_heads * side.length * rounded_up(job_.width, kernels_.tile_columns()), 16);
  }
  int64_t num_groups() const { return static_cast<int64_t>(groups_.weights.size()); }
  int64_t sums_size() const { return num_groups() * blocks_size(queries()); }
  int64_t scratch_size() const { return num_threads_ * kernels_.scratch(job_.width); }

  template <typename Parallel> const float* pack(AttentionKernels::Pack kernel, const AttentionMatrix& matrix,
                                                 Side side, bool as_blocks, float*& next,
                                                 const Parallel& parallel) const {
    float* const packed = next;
    const AttentionPackJob job = {matrix, side.num_heads, side.length, job_.width, packed};
    const int64_t unit = as_blocks ? kAttentionBlock : kernels_.tile_rows, grain = std::max<int64_t>(1, 64 / unit);
    parallel(side.num_heads * rounded_up(side.length, unit) / unit, grain,
             [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
    next += as_blocks ? blocks_size(side) : rows_size(side);
    return packed;
  }

  // What every head has for the threads.
  struct Tasks {
    int64_t num_heads;
    std::vector<int64_t> weights;
  };
  // Of a causal mask, forward works on the triangle below.
  Tasks panels_of_queries(bool by_keys) const {
    const int64_t columns = kernels_.tile_columns();
    std::vector<int64_t> weights;
    for (int64_t query = 0; query < job_.num_queries; query += columns) {
      const int64_t seen = std::min(job_.num_queries, query + columns) + job_.num_keys - job_.num_queries;
      weights.push_back(!by_keys ? 1 : job_.is_causal ? seen : job_.num_keys);
    }
    return {job_.num_heads, std::move(weights)};
  }

  template <typename Parallel, typename Between>
  void run_tasks(AttentionKernels::Task task, const Tasks& tasks, float* scratch, const Parallel& parallel,
                 const Between& between) const {
    const auto in_head = static_cast<int64_t>(tasks.weights.size());
    std::vector<int64_t> weights;
    for (int64_t head = 0; head < tasks.num_heads; ++head)
      weights.insert(weights.end(), tasks.weights.begin(), tasks.weights.end());
    const auto dealt = deal_tasks(weights, num_threads_);
    parallel(num_threads_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t thread = begin; thread < end; ++thread)
        for (const int64_t index : dealt[thread]) {
          task(job_, index / in_head, index % in_head, scratch + thread * kernels_.scratch(job_.width));
          between();
        }
    });
  }

  const AttentionKernels& kernels_;
  AttentionJob job_;
  GranuleGroups groups_;
  int storage_;
  int64_t num_threads_;
};

}  // namespace mfugaku::kernels
