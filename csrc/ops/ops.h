// The kernels as torch operators, on torch's stable ABI: one build serves every torch from 2.10 on.
//
// Each returns a new contiguous tensor of x's shape and type: float32, bfloat16 or float16. Other tensors must have the
// type of x. Non-contiguous inputs are copied first. Work is split by torch's own parallel_for, so it runs on the
// threads that torch.set_num_threads has given torch, and nests as torch's own operators do; results do not depend on
// their number.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <string>
#include <tuple>

namespace mfugaku::ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Dropout of x + bias, added to residual: see kernels/dropout/dropout.h. 0 <= p < 1.
Tensor dropout(const Tensor& x, const std::optional<Tensor>& bias, const std::optional<Tensor>& residual, double p,
               int64_t seed, int64_t offset);

// GELU of x + bias, exact or in its tanh form: see kernels/bias_gelu/bias_gelu.h.
Tensor bias_gelu(const Tensor& x, const std::optional<Tensor>& bias, bool exact);

// The gradient of x from that of bias_gelu(x, bias, exact).
Tensor bias_gelu_backward(const Tensor& gradient, const Tensor& x, const std::optional<Tensor>& bias, bool exact);

// out = alpha * a b, or out + a b: see kernels/gemm/gemm.h. a [batch, rows, depth] and b [batch, depth, columns] of one
// dtype and any strides; out [batch, rows, columns] of that dtype or float32, with contiguous rows or columns. With
// `accumulate` alpha must be 1. out must not overlap a or b.
void gemm(const Tensor& a, const Tensor& b, const Tensor& out, double alpha, bool accumulate);

// The same of float16, in float16: see kernels/gemm_fp16/gemm_fp16.h.
void gemm_fp16(const Tensor& a, const Tensor& b, const Tensor& out, double alpha, bool accumulate);

// The same of bfloat16, as BF16 instructions have it: see kernels/gemm_bf16/gemm_bf16.h.
void gemm_bf16(const Tensor& a, const Tensor& b, const Tensor& out, double alpha, bool accumulate);

// Attention, see kernels/attention/attention.h: query [queries, batch, heads, width], key and value [keys, batch, key
// heads, width] to out like query, and what the backward pass needs beside it: float32 [2, batch * heads, queries].
// `first_head`: of query among `heads_of_model`.
std::tuple<Tensor, Tensor> attention(const Tensor& query, const Tensor& key, const Tensor& value, double scale,
                                     bool is_causal, double p, int64_t seed, int64_t offset, int64_t first_head,
                                     int64_t heads_of_model);

// The gradients of query, key and value from that of out.
std::tuple<Tensor, Tensor, Tensor> attention_backward(const Tensor& gradient, const Tensor& query, const Tensor& key,
                                                      const Tensor& value, const Tensor& out, const Tensor& statistics,
                                                      double scale, bool is_causal, double p, int64_t seed,
                                                      int64_t offset, int64_t first_head, int64_t heads_of_model);

// Layer (centered) or root-mean-square normalisation over the last dimension of x, and its statistics: of each row the mean,
// when centered, and behind them 1 / deviation, float32. See kernels/norm/norm.h.
std::tuple<Tensor, Tensor> norm(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, double eps,
                                bool centered);

// The same of sum = x + residual, that sum, and the statistics.
std::tuple<Tensor, Tensor, Tensor> norm_residual(const Tensor& x, const Tensor& residual, const Tensor& weight,
                                                 const std::optional<Tensor>& bias, double eps, bool centered);

// The gradients of x and of the residual, which are one, of weight and of bias, from those of the result and of the sum.
std::tuple<Tensor, Tensor, Tensor> norm_residual_backward(const Tensor& gradient, const Tensor& of_sum,
                                                          const Tensor& sum, const Tensor& weight,
                                                          const Tensor& statistics, bool centered, bool wants_bias);

// The gradients of x, weight and bias; that of the bias has no elements unless wants_bias.
std::tuple<Tensor, Tensor, Tensor> norm_backward(const Tensor& gradient, const Tensor& x, const Tensor& weight,
                                                 const Tensor& statistics, bool centered, bool wants_bias);

// Softmax of scale * x over the last dimension, with `causal` over what the row of a matrix [.., queries, keys] sees: see
// kernels/softmax/softmax.h. scale > 0.
Tensor softmax(const Tensor& x, double scale, bool causal);

// The gradient of x from that of y = softmax(x, scale, causal).
Tensor softmax_backward(const Tensor& gradient, const Tensor& y, double scale, bool causal);

// SwiGLU: [.., 2 F] to [.., F]. See kernels/swiglu/swiglu.h.
Tensor swiglu(const Tensor& x);

// The gradient of x, [.., 2 F], from that of swiglu(x), [.., F].
Tensor swiglu_backward(const Tensor& gradient, const Tensor& x);

// What a rank knows of the cross-entropy of each row of its logits [.., V], columns from first_column on of all ranks'
// together, against targets [..] (int64): the largest logit, the sum of powers and the target's logit, all float32 [..].
// See kernels/cross_entropy/cross_entropy.h.
std::tuple<Tensor, Tensor, Tensor> cross_entropy(const Tensor& logits, const Tensor& targets, int64_t first_column);

// Overwrites contiguous logits with their gradient. float32 [..] each: the gradient of the losses, the largest logit of all
// ranks, and the gradient divided by the sum of all ranks.
void cross_entropy_backward(Tensor logits, const Tensor& targets, int64_t first_column, const Tensor& gradient,
                            const Tensor& largest, const Tensor& factors);

// One step of AdamW, or of Adam unless `decoupled`: see kernels/adamw/adamw.h. parameter, first and second are float32,
// contiguous and of one shape, and are overwritten; so is `low`, of halves. gradient has their shape and the type of low or
// of parameter. step counts from 1.
void adamw(const Tensor& parameter, const Tensor& gradient, const Tensor& first, const Tensor& second,
           const std::optional<Tensor>& low, double lr, double beta1, double beta2, double eps, double weight_decay,
           int64_t step, double scale, bool decoupled);

// The sum of the squares of all elements, float64 without dimensions: see kernels/reduce/reduce.h for its order.
Tensor sum_of_squares(const Tensor& x);

// Rotary position embedding of x [positions, batch, heads, width], whose last dimension is copied unless contiguous, by
// cosines and sines [positions, pairs], float32 and contiguous: see kernels/rope/rope.h.
Tensor rope(const Tensor& x, const Tensor& cosines, const Tensor& sines, bool interleaved, bool inverse);

// The row of weight, [rows, width] from first_row on of a table of `vocabulary` rows, of each token, int64 [..]: [.., width], and
// zeros where it is none of these rows.
Tensor embedding(const Tensor& weight, const Tensor& tokens, int64_t first_row, int64_t vocabulary);

// The gradient of weight, [num_rows, width]: of each row the sum of the gradients [.., width] of its tokens in their order, in
// float32 and rounded once.
Tensor embedding_backward(const Tensor& gradient, const Tensor& tokens, int64_t first_row, int64_t num_rows);

// Writes x to `out`, contiguous and of as many elements, in another of the three types: float32 to a half, rounded to nearest
// even, or a half to float32.
void convert(const Tensor& x, const Tensor& out);

// Lets the kernels call a function (its address; 0: none) between two tiles, from any of torch's threads: as
// mfugaku_comm_poke, which lets communication in flight get on.
void call_between_tiles(int64_t function);

// Which kernels run here and why: "op<TAB>isa<TAB>reason" a line.
std::string kernel_choices();

}  // namespace mfugaku::ops
