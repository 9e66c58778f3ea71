// MPI's own collectives as a backend of torch.distributed, so that a benchmark reaches them by the same way as ours.
// Included by torch_backend.cpp alone, as torch's headers are slow to compile.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "stock.h"
#include "torch_tensors.h"

namespace mfugaku::comm {

class StockBackend : public c10d::Backend {
 public:
  StockBackend(int rank, int size) : Backend(rank, size), mpi_(translated([] { return StockMpi(); })) {}

  const std::string getBackendName() const override { return "mfugaku_stock"; }
  void shutdown() override { translated([&] { mpi_.free(); }); }

  c10::intrusive_ptr<c10d::Work> allreduce(Tensors& tensors, const c10d::AllreduceOptions&) override {
    const at::Tensor& tensor = only_one(tensors, "all_reduce");
    translated([&] { mpi_.all_reduce(tensor.data_ptr(), tensor.numel(), reducible_type_of(tensor)); });
    return c10::make_intrusive<Done>();
  }
  c10::intrusive_ptr<c10d::Work> _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                                      const c10d::ReduceScatterOptions&) override {
    translated([&] {
      mpi_.reduce_scatter(input.data_ptr(), output.data_ptr(), output.numel(), reducible_type_of(output));
    });
    return c10::make_intrusive<Done>();
  }
  c10::intrusive_ptr<c10d::Work> _allgather_base(at::Tensor& output, at::Tensor& input,
                                                 const c10d::AllgatherOptions&) override {
    translated([&] { mpi_.all_gather(input.data_ptr(), output.data_ptr(), bytes_of(input)); });
    return c10::make_intrusive<Done>();
  }

 private:
  struct Done : c10d::Work {
    bool isCompleted() override { return true; }
    bool isSuccess() const override { return true; }
    bool wait(std::chrono::milliseconds) override { return true; }
    void synchronize() override {}
  };

  StockMpi mpi_;
};

}  // namespace mfugaku::comm
