// The operators of namespace `mfugaku`: schemas and registrations only. Fake implementations and gradients stand in
// megatron_fugaku/kernels.
#include "ops/ops.h"

STABLE_TORCH_LIBRARY(mfugaku, m) {
  m.def("dropout(Tensor x, Tensor? bias, Tensor? residual, float p, int seed, int offset) -> Tensor");
  m.def("bias_gelu(Tensor x, Tensor? bias, bool exact) -> Tensor");
  m.def("bias_gelu_backward(Tensor gradient, Tensor x, Tensor? bias, bool exact) -> Tensor");
  m.def("gemm(Tensor a, Tensor b, Tensor(a!) out, float alpha, bool accumulate) -> ()");
  m.def("gemm_fp16(Tensor a, Tensor b, Tensor(a!) out, float alpha, bool accumulate) -> ()");
  m.def("gemm_bf16(Tensor a, Tensor b, Tensor(a!) out, float alpha, bool accumulate) -> ()");
  m.def(
      "attention(Tensor query, Tensor key, Tensor value, float scale, bool is_causal, float p, int seed, int offset, "
      "int first_head, int heads_of_model) -> (Tensor, Tensor)");
  m.def(
      "attention_backward(Tensor gradient, Tensor query, Tensor key, Tensor value, Tensor out, Tensor statistics, "
      "float scale, bool is_causal, float p, int seed, int offset, int first_head, int heads_of_model) "
      "-> (Tensor, Tensor, Tensor)");
  m.def("norm(Tensor x, Tensor weight, Tensor? bias, float eps, bool centered) -> (Tensor, Tensor)");
  m.def("norm_residual(Tensor x, Tensor residual, Tensor weight, Tensor? bias, float eps, bool centered)"
        " -> (Tensor, Tensor, Tensor)");
  m.def("norm_residual_backward(Tensor gradient, Tensor of_sum, Tensor sum, Tensor weight, Tensor statistics,"
        " bool centered, bool wants_bias) -> (Tensor, Tensor, Tensor)");
  m.def("norm_backward(Tensor gradient, Tensor x, Tensor weight, Tensor statistics, bool centered, bool wants_bias)"
        " -> (Tensor, Tensor, Tensor)");
  m.def("softmax(Tensor x, float scale, bool causal) -> Tensor");
  m.def("softmax_backward(Tensor gradient, Tensor y, float scale, bool causal) -> Tensor");
  m.def("swiglu(Tensor x) -> Tensor");
  m.def("swiglu_backward(Tensor gradient, Tensor x) -> Tensor");
  m.def("cross_entropy(Tensor logits, Tensor targets, int first_column) -> (Tensor, Tensor, Tensor)");
  m.def("cross_entropy_backward(Tensor(a!) logits, Tensor targets, int first_column, Tensor gradient, Tensor largest,"
        " Tensor factors) -> ()");
  m.def(
      "adamw(Tensor(a!) parameter, Tensor gradient, Tensor(b!) first, Tensor(c!) second, Tensor(d!)? low, float lr, "
      "float beta1, float beta2, float eps, float weight_decay, int step, float scale, bool decoupled) -> ()");
  m.def("sum_of_squares(Tensor x) -> Tensor");
  m.def("rope(Tensor x, Tensor cosines, Tensor sines, bool interleaved, bool inverse) -> Tensor");
  m.def("embedding(Tensor weight, Tensor tokens, int first_row, int vocabulary) -> Tensor");
  m.def("embedding_backward(Tensor gradient, Tensor tokens, int first_row, int num_rows) -> Tensor");
  m.def("convert(Tensor x, Tensor(a!) out) -> ()");
  m.def("call_between_tiles(int function) -> ()");
  m.def("kernel_choices() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(mfugaku, CPU, m) {
  m.impl("dropout", TORCH_BOX(&mfugaku::ops::dropout));
  m.impl("bias_gelu", TORCH_BOX(&mfugaku::ops::bias_gelu));
  m.impl("bias_gelu_backward", TORCH_BOX(&mfugaku::ops::bias_gelu_backward));
  m.impl("attention", TORCH_BOX(&mfugaku::ops::attention));
  m.impl("attention_backward", TORCH_BOX(&mfugaku::ops::attention_backward));
  m.impl("gemm", TORCH_BOX(&mfugaku::ops::gemm));
  m.impl("gemm_fp16", TORCH_BOX(&mfugaku::ops::gemm_fp16));
  m.impl("gemm_bf16", TORCH_BOX(&mfugaku::ops::gemm_bf16));
  m.impl("norm", TORCH_BOX(&mfugaku::ops::norm));
  m.impl("norm_residual", TORCH_BOX(&mfugaku::ops::norm_residual));
  m.impl("norm_residual_backward", TORCH_BOX(&mfugaku::ops::norm_residual_backward));
  m.impl("norm_backward", TORCH_BOX(&mfugaku::ops::norm_backward));
  m.impl("softmax", TORCH_BOX(&mfugaku::ops::softmax));
  m.impl("softmax_backward", TORCH_BOX(&mfugaku::ops::softmax_backward));
  m.impl("swiglu", TORCH_BOX(&mfugaku::ops::swiglu));
  m.impl("swiglu_backward", TORCH_BOX(&mfugaku::ops::swiglu_backward));
  m.impl("cross_entropy", TORCH_BOX(&mfugaku::ops::cross_entropy));
  m.impl("cross_entropy_backward", TORCH_BOX(&mfugaku::ops::cross_entropy_backward));
  m.impl("adamw", TORCH_BOX(&mfugaku::ops::adamw));
  m.impl("sum_of_squares", TORCH_BOX(&mfugaku::ops::sum_of_squares));
  m.impl("rope", TORCH_BOX(&mfugaku::ops::rope));
  m.impl("embedding", TORCH_BOX(&mfugaku::ops::embedding));
  m.impl("embedding_backward", TORCH_BOX(&mfugaku::ops::embedding_backward));
  m.impl("convert", TORCH_BOX(&mfugaku::ops::convert));
}

STABLE_TORCH_LIBRARY_IMPL(mfugaku, CompositeExplicitAutograd, m) {
  m.impl("call_between_tiles", TORCH_BOX(&mfugaku::ops::call_between_tiles));
  m.impl("kernel_choices", TORCH_BOX(&mfugaku::ops::kernel_choices));
}
