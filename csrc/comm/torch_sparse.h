// The sum of sparse COO tensors over a group: everybody gets everybody's entries and adds them up in the order of ranks.
// Included by torch_backend.cpp alone, as torch's headers are slow to compile.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sparse_coo_tensor.h>
#include <ATen/ops/tensor.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <vector>

#include "torch_tensors.h"

namespace mfugaku::comm {

// Waits. The numbers of entries may differ between ranks, sizes and types may not.
inline void all_reduce_sparse(c10d::Backend& backend, at::Tensor& tensor, const c10d::AllreduceOptions& options) {
  const Reduction reduction = reduction_of(options.reduceOp);
  TORCH_CHECK_VALUE(tensor.layout() == at::kSparse && tensor.device().is_cpu(),
                    "all_reduce: of sparse tensors the MPI backend takes COO tensors on the CPU, but got one on ",
                    tensor.device(), " with layout ", tensor.layout(), ".");
  TORCH_CHECK_VALUE(reduction == Reduction::Sum || reduction == Reduction::Average, "all_reduce: ",
                    name_of(reduction), " has no meaning for sparse tensors; SUM and AVG have.");
  const at::Tensor mine = tensor.coalesce();
  std::vector<int64_t> shape = {mine._nnz(), mine.sparse_dim(), mine.dense_dim(),
                                static_cast<int64_t>(type_of(mine))};
  shape.insert(shape.end(), mine.sizes().begin(), mine.sizes().end());
  c10d::AllgatherOptions gathering;
  gathering.timeout = options.timeout;

  const auto gather = [&](const at::Tensor& input, const std::vector<at::Tensor>& outputs) {
    std::vector<Tensors> lists = {outputs};
    Tensors inputs = {input};
    backend.allgather(lists, inputs, gathering)->wait();
  };
  at::Tensor own = at::tensor(shape, at::kLong);
  std::vector<at::Tensor> all;
  for (int rank = 0; rank < backend.getSize(); ++rank) all.push_back(at::empty_like(own));
  gather(own, all);

  std::vector<at::Tensor> indices, values;
  for (const at::Tensor& other : all) {
    TORCH_CHECK_VALUE(other.slice(0, 1).equal(own.slice(0, 1)),
                      "all_reduce: the ranks gave sparse tensors of different sizes or types.");
    const int64_t count = other[0].item<int64_t>();
    std::vector<int64_t> sizes = mine.values().sizes().vec();
    sizes[0] = count;
    indices.push_back(at::empty({mine.sparse_dim(), count}, mine.indices().options()));
    values.push_back(at::empty(sizes, mine.values().options()));
  }
  gather(mine.indices().contiguous(), indices);
  gather(mine.values().contiguous(), values);
  at::Tensor sum = at::sparse_coo_tensor(at::cat(indices, 1), at::cat(values, 0), mine.sizes()).coalesce();
  if (reduction == Reduction::Average) sum.div_(backend.getSize());
  tensor.copy_(sum);
}

}  // namespace mfugaku::comm
