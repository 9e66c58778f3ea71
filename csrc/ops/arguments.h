// What all operators ask of their tensors.
#pragma once

#include "ops/ops.h"

namespace mfugaku::ops {

// Elements of a tile, below which a second thread costs more than it gains; a multiple of every kernel's group.
inline constexpr int64_t kGrain = 16384;

inline void check_type(const Tensor& x, const char* name) {
  const ScalarType type = x.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::BFloat16 || type == ScalarType::Half, name,
                  " must be float32, bfloat16 or float16.");
}

inline void check_like(const Tensor& other, const Tensor& x, const char* name) {
  STD_TORCH_CHECK(other.scalar_type() == x.scalar_type(), name, " must have the dtype of x.");
  STD_TORCH_CHECK(other.is_cpu(), name, " must be on the CPU.");
  bool equal = other.dim() == x.dim();
  for (int64_t d = 0; equal && d < x.dim(); ++d) equal = other.size(d) == x.size(d);
  STD_TORCH_CHECK(equal, name, " must have the shape of x.");
}

// A bias over the last dimension of x.
inline void check_bias(const Tensor& bias, const Tensor& x) {
  STD_TORCH_CHECK(bias.scalar_type() == x.scalar_type(), "bias must have the dtype of x.");
  STD_TORCH_CHECK(bias.is_cpu(), "bias must be on the CPU.");
  STD_TORCH_CHECK(bias.dim() == 1 && x.dim() > 0 && bias.size(0) == x.size(x.dim() - 1),
                  "bias must have one dimension, the last of x.");
}

// The length of the last dimension of x, and how many rows of that length it has.
inline int64_t row_length(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() > 0, "x must have a dimension.");
  return x.size(x.dim() - 1);
}
inline int64_t num_rows(const Tensor& x) {
  const int64_t length = row_length(x);
  return length == 0 ? 0 : x.numel() / length;
}

inline Tensor dense(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}
inline std::optional<Tensor> dense(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional<Tensor>(dense(*tensor)) : std::nullopt;
}

inline const void* data_of(const std::optional<Tensor>& tensor) {
  return tensor ? tensor->const_data_ptr() : nullptr;
}

// The member of three that is for the type of a tensor.
template <typename Kernel> Kernel by_type(const Tensor& x, Kernel float32, Kernel bfloat16, Kernel float16) {
  switch (x.scalar_type()) {
    case ScalarType::Float: return float32;
    case ScalarType::BFloat16: return bfloat16;
    default: return float16;
  }
}

}  // namespace mfugaku::ops
