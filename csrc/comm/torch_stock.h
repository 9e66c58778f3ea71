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

  using WorkPtr = c10::intrusive_ptr<c10d::Work>;

  WorkPtr allreduce(Tensors& tensors, const c10d::AllreduceOptions&) override {
    const at::Tensor& tensor = only_one(tensors, "all_reduce");
    return done([&] { mpi_.all_reduce(tensor.data_ptr(), tensor.numel(), reducible_type_of(tensor)); });
  }
  WorkPtr _reduce_scatter_base(at::Tensor& output, at::Tensor& input, const c10d::ReduceScatterOptions&) override {
    return done([&] {
      mpi_.reduce_scatter(input.data_ptr(), output.data_ptr(), output.numel(), reducible_type_of(output));
    });
  }
  WorkPtr _allgather_base(at::Tensor& output, at::Tensor& input, const c10d::AllgatherOptions&) override {
    return done([&] { mpi_.all_gather(input.data_ptr(), output.data_ptr(), bytes_of(input)); });
  }
  WorkPtr broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override {
    const at::Tensor& tensor = only_one(tensors, "broadcast");
    return done([&] { mpi_.broadcast(tensor.data_ptr(), bytes_of(tensor), static_cast<int>(options.rootRank)); });
  }
  WorkPtr reduce(Tensors& tensors, const c10d::ReduceOptions& options) override {
    const at::Tensor& tensor = only_one(tensors, "reduce");
    return done([&] {
      mpi_.reduce(tensor.data_ptr(), tensor.numel(), reducible_type_of(tensor), static_cast<int>(options.rootRank));
    });
  }
  WorkPtr alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<int64_t>&, std::vector<int64_t>&,
                        const c10d::AllToAllOptions&) override {
    return done([&] { mpi_.all_to_all(input.data_ptr(), output.data_ptr(), bytes_of(input) / size_); });
  }
  WorkPtr gather(std::vector<Tensors>& outputs, Tensors& inputs, const c10d::GatherOptions& options) override {
    const at::Tensor& input = only_one(inputs, "gather");
    void* whole = outputs.empty() ? nullptr : first_of_block(outputs[0]);
    return done([&] { mpi_.gather(input.data_ptr(), whole, bytes_of(input), static_cast<int>(options.rootRank)); });
  }
  WorkPtr scatter(Tensors& outputs, std::vector<Tensors>& inputs, const c10d::ScatterOptions& options) override {
    const at::Tensor& output = only_one(outputs, "scatter");
    void* whole = inputs.empty() ? nullptr : first_of_block(inputs[0]);
    return done([&] { mpi_.scatter(whole, output.data_ptr(), bytes_of(output), static_cast<int>(options.rootRank)); });
  }
  WorkPtr send(Tensors& tensors, int to, int) override {
    const at::Tensor& tensor = only_one(tensors, "send");
    return done([&] { mpi_.send(tensor.data_ptr(), bytes_of(tensor), to); });
  }
  WorkPtr recv(Tensors& tensors, int from, int) override {
    const at::Tensor& tensor = only_one(tensors, "recv");
    return done([&] { mpi_.receive(tensor.data_ptr(), bytes_of(tensor), from); });
  }
  WorkPtr barrier(const c10d::BarrierOptions&) override {
    return done([&] { mpi_.barrier(); });
  }

 private:
  struct Done : c10d::Work {
    bool isCompleted() override { return true; }
    bool isSuccess() const override { return true; }
    bool wait(std::chrono::milliseconds) override { return true; }
    void synchronize() override {}
  };

  template <class Body>
  WorkPtr done(const Body& body) {
    translated(body);
    return c10::make_intrusive<Done>();
  }

  // MPI wants blocks behind one another, which is how the benchmark has them.
  static void* first_of_block(const Tensors& parts) {
    for (size_t i = 1; i < parts.size(); ++i)
      TORCH_CHECK_VALUE(static_cast<char*>(parts[i - 1].data_ptr()) + bytes_of(parts[i - 1]) == parts[i].data_ptr(),
                        "MPI's own gather and scatter want the parts of a list behind one another in memory.");
    return parts[0].data_ptr();
  }

  StockMpi mpi_;
};

}  // namespace mfugaku::comm
