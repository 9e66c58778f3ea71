// How torch's arguments become the core's: types, checks of tensors and lists, memory that a call holds, errors.
// Included by torch_backend.cpp alone, as torch's headers are slow to compile.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/distributed/c10d/Types.hpp>

#include <chrono>
#include <stdexcept>
#include <vector>

#include "core.h"
#include "reduce.h"

namespace mfugaku::comm {

using Tensors = std::vector<at::Tensor>;

inline DataType type_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble: return DataType::Float64;
    case at::kFloat: return DataType::Float32;
    case at::kHalf: return DataType::Float16;
    case at::kBFloat16: return DataType::BFloat16;
    case at::kChar: return DataType::Int8;
    case at::kShort: return DataType::Int16;
    case at::kInt: return DataType::Int32;
    case at::kLong: return DataType::Int64;
    case at::kByte: return DataType::UInt8;
    case at::kUInt16: return DataType::UInt16;
    case at::kUInt32: return DataType::UInt32;
    case at::kUInt64: return DataType::UInt64;
    case at::kBool: return DataType::Bool;
    case at::kComplexFloat: return DataType::Complex64;
    case at::kComplexDouble: return DataType::Complex128;
    default: return DataType::Opaque;
  }
}

inline DataType reducible_type_of(const at::Tensor& tensor) {
  const DataType type = type_of(tensor);
  TORCH_CHECK_VALUE(type != DataType::Opaque, "The MPI backend moves tensors of type ", tensor.scalar_type(),
                    ", but cannot reduce them. Convert the tensor first.");
  return type;
}

inline Reduction reduction_of(const c10d::ReduceOp& reduce_op) {
  switch (reduce_op.op_) {
    case c10d::ReduceOp::SUM: return Reduction::Sum;
    case c10d::ReduceOp::AVG: return Reduction::Average;
    case c10d::ReduceOp::PRODUCT: return Reduction::Product;
    case c10d::ReduceOp::MIN: return Reduction::Minimum;
    case c10d::ReduceOp::MAX: return Reduction::Maximum;
    case c10d::ReduceOp::BAND: return Reduction::BitAnd;
    case c10d::ReduceOp::BOR: return Reduction::BitOr;
    case c10d::ReduceOp::BXOR: return Reduction::BitXor;
    default: break;
  }
  TORCH_CHECK(false, "ReduceOp.PREMUL_SUM is for dense all_reduce and reduce_scatter. Multiply before a ReduceOp.SUM "
                     "instead.");
}

// What a rank gives to a reduction, and how it is reduced: PREMUL_SUM is the sum of what was multiplied before.
struct Given {
  at::Tensor tensor;
  Reduction reduction;
};

inline Given given_of(const at::Tensor& tensor, const c10d::ReduceOp& reduce_op) {
  if (reduce_op.op_ != c10d::ReduceOp::PREMUL_SUM) return {tensor, reduction_of(reduce_op)};
  const auto* factor = dynamic_cast<const c10d::NCCLPreMulSumSupplement*>(reduce_op.supplement_.get());
  TORCH_CHECK_VALUE(factor != nullptr && (tensor.is_floating_point() || tensor.is_complex()),
                    "ReduceOp.PREMUL_SUM multiplies numbers that are not whole by a factor, but got a tensor of type ",
                    tensor.scalar_type(), factor == nullptr ? " and no factor." : ".");
  const at::Tensor& of_tensor = factor->tensor_factor;
  return {of_tensor.defined() ? tensor.mul(of_tensor.reshape({})) : tensor.mul(factor->double_factor), Reduction::Sum};
}

// Errors of the core reach Python as torch.distributed.DistBackendError, or as ValueError for wrong arguments.
template <typename Body>
auto translated(const Body& body) {
  try {
    return body();
  } catch (const CommFailure& failure) {
    C10_THROW_ERROR(DistBackendError, failure.what());
  } catch (const std::invalid_argument& failure) {
    C10_THROW_ERROR(ValueError, failure.what());
  }
}

inline void check_tensor(const at::Tensor& tensor, const char* operation) {
  TORCH_CHECK_VALUE(tensor.layout() == at::kStrided && tensor.device().is_cpu(), operation,
                    ": the MPI backend takes dense CPU tensors, but got one on ", tensor.device(), " with layout ",
                    tensor.layout(), ".");
  TORCH_CHECK_VALUE(tensor.is_contiguous(), operation, ": the MPI backend takes contiguous tensors, but got sizes ",
                    tensor.sizes(), " with strides ", tensor.strides(), ". Call .contiguous() first.");
}

inline const at::Tensor& only_one(const Tensors& tensors, const char* operation) {
  TORCH_CHECK_VALUE(tensors.size() == 1, operation, ": expected one tensor per rank, got ", tensors.size(), ".");
  check_tensor(tensors[0], operation);
  return tensors[0];
}

inline int64_t bytes_of(const at::Tensor& tensor) { return static_cast<int64_t>(tensor.nbytes()); }

// The storage and not the tensor: megatron gives sent tensors new, empty data while the send is in flight.
inline void hold(Call& call, const at::Tensor& tensor) {
  call.keep.push_back(std::make_shared<c10::Storage>(tensor.storage()));
}

template <typename Options>
Call call_of(const Options& options, const Tensors& tensors = {}) {
  Call call;
  if (options.timeout != c10d::kUnsetTimeout) call.timeout_s = std::chrono::duration<double>(options.timeout).count();
  for (const at::Tensor& tensor : tensors) hold(call, tensor);
  return call;
}

inline Call message_call(const at::Tensor& tensor) {
  Call call;
  hold(call, tensor);
  return call;
}

inline void check_same_type(const at::Tensor& a, const at::Tensor& b, const char* operation) {
  TORCH_CHECK_VALUE(a.scalar_type() == b.scalar_type(), operation, ": tensors of different types, ",
                    a.scalar_type(), " and ", b.scalar_type(), ".");
}

inline void check_same_size(const at::Tensor& a, const at::Tensor& b, const char* operation) {
  TORCH_CHECK_VALUE(a.numel() == b.numel(), operation, ": the tensors for this rank have ", a.numel(), " and ",
                    b.numel(), " elements.");
}

// The list of one tensor per rank of a group of `size` that goes with `partner`.
inline const Tensors& list_of(const std::vector<Tensors>& lists, const at::Tensor& partner, int size,
                              const char* operation) {
  TORCH_CHECK_VALUE(lists.size() == 1 && lists[0].size() == static_cast<size_t>(size), operation,
                    ": expected one list of ", size, " tensors, one per rank of the group.");
  for (const at::Tensor& tensor : lists[0]) {
    check_tensor(tensor, operation);
    check_same_type(tensor, partner, operation);
  }
  return lists[0];
}

// Calls put(rank, data, num_bytes) for blocks of rows for each rank; without split sizes, equal ones.
template <typename Put>
void split_rows(const at::Tensor& tensor, const std::vector<int64_t>& splits, int size, const char* which,
                const Put& put) {
  const int64_t rows = tensor.dim() > 0 ? tensor.size(0) : tensor.numel();
  int64_t total = 0;
  for (const int64_t length : splits) total += length;
  TORCH_CHECK_VALUE(!splits.empty() || rows % size == 0, "all_to_all_single: the ", which, "'s ", rows,
                    " rows do not divide evenly among ", size, " ranks. Give split sizes.");
  TORCH_CHECK_VALUE(splits.empty() || (splits.size() == static_cast<size_t>(size) && total == rows),
                    "all_to_all_single: the ", which, "'s split sizes ", splits, " do not make up its ", rows,
                    " rows for ", size, " ranks.");
  const int64_t row_bytes = rows > 0 ? bytes_of(tensor) / rows : 0;
  auto* data = static_cast<char*>(tensor.data_ptr());
  for (size_t rank = 0; rank < static_cast<size_t>(size); ++rank) {
    const int64_t num_bytes = (splits.empty() ? rows / size : splits[rank]) * row_bytes;
    put(rank, data, num_bytes);
    data += num_bytes;
  }
}

}  // namespace mfugaku::comm
