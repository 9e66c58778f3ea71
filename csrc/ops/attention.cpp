#include "kernels/attention/attention_run.h"

#include <tuple>

#include "kernels/registry.h"
#include "ops/probability.h"
#include "ops/storage.h"
#include "ops/tiles.h"
#include "ops/workspace.h"

namespace mfugaku::ops {
namespace {

void check_heads(const Tensor& x, const Tensor& query, const char* name) {
  STD_TORCH_CHECK(x.scalar_type() == query.scalar_type(), name, " must have the dtype of query.");
  STD_TORCH_CHECK(x.is_cpu(), name, " must be on the CPU.");
  STD_TORCH_CHECK(x.dim() == 4, name, " must have four dimensions: sequence, batch, heads, width.");
}

void check_shapes(const Tensor& query, const Tensor& key, const Tensor& value, bool is_causal) {
  check_type(query, "query");
  check_heads(query, query, "query");
  check_heads(key, query, "key");
  check_heads(value, query, "value");
  bool fits = key.size(1) == query.size(1) && key.size(3) == query.size(3);
  for (int64_t d = 0; d < 4; ++d) fits = fits && value.size(d) == key.size(d);
  STD_TORCH_CHECK(fits, "key and value must have one shape, and query's batch and width.");
  STD_TORCH_CHECK(key.size(2) > 0 && query.size(2) % key.size(2) == 0,
                  "the number of query's heads must be a multiple of key's.");
  STD_TORCH_CHECK(key.size(0) > 0, "there must be a key.");
  STD_TORCH_CHECK(!is_causal || key.size(0) >= query.size(0), "a causal mask needs at least as many keys as queries.");
}

// The batch's heads are one dimension to the kernels.
bool has_one_head_stride(const Tensor& x) {
  return (x.size(3) <= 1 || x.stride(3) == 1) && (x.size(1) <= 1 || x.stride(1) == x.size(2) * x.stride(2));
}

Tensor with_one_head_stride(const Tensor& x) { return has_one_head_stride(x) ? x : torch::stable::contiguous(x); }

kernels::AttentionMatrix matrix(const Tensor& x) {
  return {const_cast<void*>(x.const_data_ptr()), x.stride(0), x.size(2) > 1 ? x.stride(2) : x.stride(1)};
}

// Of tensors whose shapes fit and whose heads have one stride.
kernels::AttentionJob job_of(const Tensor& query, const Tensor& key, const Tensor& value, double scale, bool is_causal,
                             double p, int64_t seed, int64_t offset, int64_t first_head, int64_t heads_of_model) {
  STD_TORCH_CHECK(scale > 0, "scale must be above 0.");
  STD_TORCH_CHECK(p >= 0 && p < 1, "p must be at least 0 and below 1.");
  STD_TORCH_CHECK(first_head >= 0 && first_head + query.size(2) <= heads_of_model,
                  "first_head and the heads of query must lie within heads_of_model.");
  kernels::AttentionJob job = {};
  job.num_heads = query.size(1) * query.size(2);
  job.group = query.size(2) / key.size(2);
  job.num_queries = query.size(0);
  job.num_keys = key.size(0);
  job.width = query.size(3);
  job.is_causal = is_causal;
  job.scale = static_cast<float>(scale);
  job.threshold = threshold_of(p);
  job.keep_scale = static_cast<float>(1.0 / (1.0 - p));
  job.seed = static_cast<uint64_t>(seed);
  job.offset = static_cast<uint32_t>(offset);
  job.heads_per_sequence = query.size(2);
  job.heads_of_model = heads_of_model;
  job.first_head = first_head;
  job.query = matrix(query);
  job.key = matrix(key);
  job.value = matrix(value);
  return job;
}

kernels::AttentionPlan plan_of(const kernels::AttentionJob& job, const Tensor& query) {
  return {kernels::chosen<kernels::AttentionKernels>(), job, storage_of(query),
          static_cast<int64_t>(torch::stable::get_num_threads())};
}

const auto kParallel = [](int64_t count, int64_t grain, const auto& body) {
  torch::stable::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) { body(begin, end); });
};

}  // namespace

std::tuple<Tensor, Tensor> attention(const Tensor& query, const Tensor& key, const Tensor& value, double scale,
                                     bool is_causal, double p, int64_t seed, int64_t offset, int64_t first_head,
                                     int64_t heads_of_model) {
  check_shapes(query, key, value, is_causal);
  const Tensor q = with_one_head_stride(query), k = with_one_head_stride(key), v = with_one_head_stride(value);
  kernels::AttentionJob job = job_of(q, k, v, scale, is_causal, p, seed, offset, first_head, heads_of_model);
  Tensor out = torch::stable::new_empty(q, {q.size(0), q.size(1), q.size(2), q.size(3)});
  Tensor statistics = torch::stable::new_empty(q, {2, job.num_heads, job.num_queries}, ScalarType::Float);
  job.out = matrix(out);
  job.statistics = static_cast<float*>(statistics.mutable_data_ptr());
  if (job.num_heads > 0 && job.num_queries > 0 && job.width > 0) {
    auto plan = plan_of(job, q);
    plan.forward(workspace(plan.forward_workspace()), kParallel, call_what_is_between);
  }
  return {out, statistics};
}

std::tuple<Tensor, Tensor, Tensor> attention_backward(const Tensor& gradient, const Tensor& query, const Tensor& key,
                                                      const Tensor& value, const Tensor& out, const Tensor& statistics,
                                                      double scale, bool is_causal, double p, int64_t seed,
                                                      int64_t offset, int64_t first_head, int64_t heads_of_model) {
  check_shapes(query, key, value, is_causal);
  check_like(gradient, query, "gradient");
  check_like(out, query, "out");
  const Tensor g = with_one_head_stride(gradient), o = with_one_head_stride(out), s = dense(statistics);
  const Tensor q = with_one_head_stride(query), k = with_one_head_stride(key), v = with_one_head_stride(value);
  kernels::AttentionJob job = job_of(q, k, v, scale, is_causal, p, seed, offset, first_head, heads_of_model);
  STD_TORCH_CHECK(s.scalar_type() == ScalarType::Float && s.numel() == 2 * job.num_heads * job.num_queries,
                  "statistics must be those of the forward pass.");
  const auto like = [](const Tensor& x) {
    return torch::stable::new_empty(x, {x.size(0), x.size(1), x.size(2), x.size(3)});
  };
  Tensor of_query = like(q), of_key = like(k), of_value = like(v);
  Tensor projection = torch::stable::new_empty(q, {job.num_heads, job.num_queries}, ScalarType::Float);
  job.out = matrix(o);
  job.out_gradient = matrix(g);
  job.query_gradient = matrix(of_query);
  job.key_gradient = matrix(of_key);
  job.value_gradient = matrix(of_value);
  job.statistics = const_cast<float*>(static_cast<const float*>(s.const_data_ptr()));
  job.projection = static_cast<float*>(projection.mutable_data_ptr());
  if (job.num_heads > 0 && job.width > 0) {
    auto plan = plan_of(job, q);
    plan.backward(workspace(plan.backward_workspace()), kParallel, call_what_is_between);
  }
  return {of_query, of_key, of_value};
}

}  // namespace mfugaku::ops
