// The one file that knows torch: c10d's Backend and Work on top of the communication core, and the Python module.
// It is slow to compile; everything that needs no torch header belongs elsewhere.
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Types.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>
#include <torch/csrc/utils/pybind.h>
#include <torch/version.h>

#include <mutex>

#include "bootstrap.h"
#include "build_facts.h"
#include "collectives/collectives.h"
#include "reduce.h"

namespace mfugaku::comm {
namespace {

using Tensors = std::vector<at::Tensor>;

DataType type_of(const at::Tensor& tensor) {
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

DataType reducible_type_of(const at::Tensor& tensor) {
  const DataType type = type_of(tensor);
  TORCH_CHECK_VALUE(type != DataType::Opaque, "The MPI backend moves tensors of type ", tensor.scalar_type(),
                    ", but cannot reduce them. Convert the tensor first.");
  return type;
}

Reduction reduction_of(const c10d::ReduceOp& reduce_op) {
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
  TORCH_CHECK(false, "ReduceOp.PREMUL_SUM exists for NCCL only. Multiply before a ReduceOp.SUM instead.");
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

void check_tensor(const at::Tensor& tensor, const char* operation) {
  TORCH_CHECK_VALUE(tensor.layout() == at::kStrided && tensor.device().is_cpu(), operation,
                    ": the MPI backend takes dense CPU tensors, but got one on ", tensor.device(), " with layout ",
                    tensor.layout(), ".");
  TORCH_CHECK_VALUE(tensor.is_contiguous(), operation, ": the MPI backend takes contiguous tensors, but got sizes ",
                    tensor.sizes(), " with strides ", tensor.strides(), ". Call .contiguous() first.");
}

const at::Tensor& only_one(const Tensors& tensors, const char* operation) {
  TORCH_CHECK_VALUE(tensors.size() == 1, operation, ": expected one tensor per rank, got ", tensors.size(), ".");
  check_tensor(tensors[0], operation);
  return tensors[0];
}

int64_t bytes_of(const at::Tensor& tensor) { return static_cast<int64_t>(tensor.nbytes()); }

// The storage and not the tensor: megatron gives sent tensors new, empty data while the send is in flight.
void hold(Call& call, const at::Tensor& tensor) {
  call.keep.push_back(std::make_shared<c10::Storage>(tensor.storage()));
}

template <typename Options>
Call call_of(const Options& options, const Tensors& tensors = {}) {
  Call call;
  if (options.timeout != c10d::kUnsetTimeout) call.timeout_s = std::chrono::duration<double>(options.timeout).count();
  for (const at::Tensor& tensor : tensors) hold(call, tensor);
  return call;
}

class MpiWork : public c10d::Work {
 public:
  MpiWork(int rank, c10d::OpType type, std::vector<OperationPtr> operations, Tensors outputs)
      : Work(rank, type), operations_(std::move(operations)), outputs_(std::move(outputs)) {}

  bool isCompleted() override {
    if (!is_done()) Engine::instance().progress();
    return is_done();
  }
  bool isSuccess() const override { return is_done() && first_error().empty(); }
  std::exception_ptr exception() const override {
    if (!is_done() || first_error().empty()) return nullptr;
    return std::make_exception_ptr(CommFailure(first_error()));
  }
  int sourceRank() const override { return operations_.empty() ? -1 : operations_.front()->source; }
  Tensors result() override { return outputs_; }
  void synchronize() override { wait(); }
  bool wait(std::chrono::milliseconds timeout = kNoTimeout) override {
    translated([&] { Engine::instance().wait(operations_, std::chrono::duration<double>(timeout).count()); });
    return true;
  }
  uint64_t getSequencenumber() const override { return operations_.empty() ? 0 : operations_.front()->sequence; }
  void abort() override {
    TORCH_CHECK(false, "MPI has no way to abort one operation; megatron_fugaku.comm.abort() ends the job.");
  }

  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override {
    std::lock_guard<std::mutex> lock(future_mutex_);
    if (future_) return future_;
    future_ = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
    auto num_open = std::make_shared<std::atomic<size_t>>(operations_.size() + 1);
    const auto one_is_done = [num_open, future = future_, outputs = outputs_, operations = operations_] {
      if (--*num_open > 0) return;
      for (const OperationPtr& operation : operations)
        if (!operation->error.empty()) {
          future->setError(std::make_exception_ptr(CommFailure(operation->describe() + ": " + operation->error)));
          return;
        }
      future->markCompleted(c10::IValue(outputs));
    };
    for (const OperationPtr& operation : operations_) Engine::instance().when_done(operation, one_is_done);
    one_is_done();
    return future_;
  }

 private:
  bool is_done() const {
    for (const OperationPtr& operation : operations_)
      if (!operation->done.load(std::memory_order_acquire)) return false;
    return true;
  }
  std::string first_error() const {
    for (const OperationPtr& operation : operations_)
      if (!operation->error.empty()) return operation->describe() + ": " + operation->error;
    return {};
  }

  std::vector<OperationPtr> operations_;
  Tensors outputs_;
  std::mutex future_mutex_;
  c10::intrusive_ptr<c10::ivalue::Future> future_;
};

using WorkPtr = c10::intrusive_ptr<c10d::Work>;

class MpiBackend : public c10d::Backend {
 public:
  MpiBackend(std::string name, std::vector<int> mpi_ranks, int rank, double timeout_s)
      : Backend(rank, static_cast<int>(mpi_ranks.size())),
        group_(translated([&] { return Group::create(name, std::move(mpi_ranks), rank, timeout_s); })),
        options_(c10::make_intrusive<Options>("mfugaku", to_milliseconds(timeout_s))) {
    options_->group_name = name;
    init();
  }

  const std::string getBackendName() const override { return "mfugaku"; }
  c10::intrusive_ptr<Options> getBackendOptions() override { return options_; }
  bool supportsCoalescing() const override { return true; }
  c10d::ErrorType getError() override { return c10d::ErrorType::SUCCESS; }
  void setTimeout(std::chrono::milliseconds timeout) override {
    options_->timeout = timeout;
    group_->set_timeout_s(std::chrono::duration<double>(timeout).count());
  }
  void setSequenceNumberForGroup() override {}
  uint64_t getSequenceNumberForGroup() override { return group_->num_collectives(); }
  void shutdown() override { translated([&] { group_->shut_down(); }); }

  // Reductions.

  WorkPtr allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override {
    return work(c10d::OpType::ALLREDUCE, {start_all_reduce(only_one(tensors, "all_reduce"), options)}, tensors);
  }

  WorkPtr allreduce_coalesced(Tensors& tensors, const c10d::AllreduceCoalescedOptions& options) override {
    std::vector<OperationPtr> operations;
    for (const at::Tensor& tensor : tensors) check_tensor(tensor, "all_reduce_coalesced");
    for (const at::Tensor& tensor : tensors) operations.push_back(start_all_reduce(tensor, options));
    return work(c10d::OpType::ALLREDUCE_COALESCED, std::move(operations), tensors);
  }

  WorkPtr reduce(Tensors& tensors, const c10d::ReduceOptions& options) override {
    const at::Tensor& tensor = only_one(tensors, "reduce");
    return work(c10d::OpType::REDUCE, {translated([&] {
                  return comm::reduce(*group_, tensor.data_ptr(), tensor.numel(), reducible_type_of(tensor),
                                      reduction_of(options.reduceOp), root_of(options.rootRank, "reduce"),
                                      call_of(options, tensors));
                })},
                tensors);
  }

  WorkPtr _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                               const c10d::ReduceScatterOptions& options) override {
    return work(c10d::OpType::_REDUCE_SCATTER_BASE, {start_reduce_scatter(output, input, options)}, {output});
  }

  WorkPtr reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::ReduceScatterOptions& options) override {
    TORCH_CHECK_VALUE(outputs.size() == inputs.size(), "reduce_scatter_tensor_coalesced: ", outputs.size(),
                      " outputs, but ", inputs.size(), " inputs.");
    std::vector<OperationPtr> operations;
    for (size_t i = 0; i < outputs.size(); ++i)
      operations.push_back(start_reduce_scatter(outputs[i], inputs[i], options));
    return work(c10d::OpType::COALESCED, std::move(operations), outputs);
  }

  WorkPtr reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                         const c10d::ReduceScatterOptions& options) override {
    const at::Tensor& output = only_one(outputs, "reduce_scatter");
    const Tensors& pieces = list_of(inputs, output, "reduce_scatter");
    check_same_size(pieces[static_cast<size_t>(rank_)], output, "reduce_scatter");
    std::vector<const void*> data;
    std::vector<int64_t> counts;
    Call call = call_of(options, outputs);
    for (const at::Tensor& piece : pieces) {
      data.push_back(piece.data_ptr());
      counts.push_back(piece.numel());
      hold(call, piece);
    }
    return work(c10d::OpType::REDUCE_SCATTER, {translated([&] {
                  return comm::reduce_scatter(*group_, data, counts, output.data_ptr(), reducible_type_of(output),
                                              reduction_of(options.reduceOp), call);
                })},
                outputs);
  }

  // Moves.

  WorkPtr broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override {
    const at::Tensor& tensor = only_one(tensors, "broadcast");
    return work(c10d::OpType::BROADCAST, {translated([&] {
                  return comm::broadcast(*group_, tensor.data_ptr(), bytes_of(tensor),
                                         root_of(options.rootRank, "broadcast"), call_of(options, tensors));
                })},
                tensors);
  }

  WorkPtr allgather(std::vector<Tensors>& outputs, Tensors& inputs, const c10d::AllgatherOptions& options) override {
    const at::Tensor& input = only_one(inputs, "all_gather");
    return work(c10d::OpType::ALLGATHER, {start_all_gather(list_of(outputs, input, "all_gather"), input, options)},
                outputs[0]);
  }

  // `outputs[r][i]` is what rank r gives as its `inputs[i]`.
  WorkPtr allgather_coalesced(std::vector<Tensors>& outputs, Tensors& inputs,
                              const c10d::AllgatherOptions& options) override {
    TORCH_CHECK_VALUE(outputs.size() == static_cast<size_t>(size_), "all_gather_coalesced: expected ", size_,
                      " lists, one per rank of the group, got ", outputs.size(), ".");
    for (const Tensors& list : outputs)
      TORCH_CHECK_VALUE(list.size() == inputs.size(), "all_gather_coalesced: a list of ", list.size(),
                        " outputs for ", inputs.size(), " inputs.");
    std::vector<OperationPtr> operations;
    Tensors all;
    for (size_t i = 0; i < inputs.size(); ++i) {
      check_tensor(inputs[i], "all_gather_coalesced");
      std::vector<Tensors> column(1);
      for (const Tensors& list : outputs) column[0].push_back(list[i]);
      operations.push_back(start_all_gather(list_of(column, inputs[i], "all_gather_coalesced"), inputs[i], options));
      all.insert(all.end(), column[0].begin(), column[0].end());
    }
    return work(c10d::OpType::ALLGATHER_COALESCED, std::move(operations), all);
  }

  WorkPtr _allgather_base(at::Tensor& output, at::Tensor& input, const c10d::AllgatherOptions& options) override {
    return work(c10d::OpType::_ALLGATHER_BASE, {start_all_gather_base(output, input, options)}, {output});
  }

  WorkPtr allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::AllgatherOptions& options) override {
    TORCH_CHECK_VALUE(outputs.size() == inputs.size(), "all_gather_into_tensor_coalesced: ", outputs.size(),
                      " outputs, but ", inputs.size(), " inputs.");
    std::vector<OperationPtr> operations;
    for (size_t i = 0; i < outputs.size(); ++i)
      operations.push_back(start_all_gather_base(outputs[i], inputs[i], options));
    return work(c10d::OpType::COALESCED, std::move(operations), outputs);
  }

  WorkPtr alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<int64_t>& output_splits,
                        std::vector<int64_t>& input_splits, const c10d::AllToAllOptions& options) override {
    check_tensor(output, "all_to_all_single");
    check_tensor(input, "all_to_all_single");
    check_same_type(output, input, "all_to_all_single");
    Pieces in = split(input, input_splits, "input"), out = split(output, output_splits, "output");
    const std::vector<const void*> sources(in.data.begin(), in.data.end());
    return work(c10d::OpType::ALLTOALL_BASE, {translated([&] {
                  return all_to_all(*group_, sources, in.num_bytes, out.data, out.num_bytes,
                                    call_of(options, {output, input}));
                })},
                {output});
  }

  WorkPtr alltoall(Tensors& outputs, Tensors& inputs, const c10d::AllToAllOptions& options) override {
    const auto size = static_cast<size_t>(size_);
    TORCH_CHECK_VALUE(outputs.size() == size && inputs.size() == size, "all_to_all: expected ", size,
                      " tensors in each list, got ", outputs.size(), " outputs and ", inputs.size(), " inputs.");
    std::vector<const void*> sources;
    std::vector<void*> targets;
    std::vector<int64_t> source_bytes, target_bytes;
    Call call = call_of(options, outputs);
    for (size_t i = 0; i < size; ++i) {
      check_tensor(outputs[i], "all_to_all");
      check_tensor(inputs[i], "all_to_all");
      check_same_type(outputs[i], inputs[i], "all_to_all");
      sources.push_back(inputs[i].data_ptr());
      source_bytes.push_back(bytes_of(inputs[i]));
      targets.push_back(outputs[i].data_ptr());
      target_bytes.push_back(bytes_of(outputs[i]));
      hold(call, inputs[i]);
    }
    return work(c10d::OpType::ALLTOALL, {translated([&] {
                  return all_to_all(*group_, sources, source_bytes, targets, target_bytes, call);
                })},
                outputs);
  }

  WorkPtr gather(std::vector<Tensors>& outputs, Tensors& inputs, const c10d::GatherOptions& options) override {
    const at::Tensor& input = only_one(inputs, "gather");
    const int root = root_of(options.rootRank, "gather");
    std::vector<void*> targets;
    std::vector<int64_t> target_bytes;
    Call call = call_of(options, inputs);
    Tensors results;
    if (rank_ == root) {
      results = list_of(outputs, input, "gather");
      check_same_size(results[static_cast<size_t>(rank_)], input, "gather");
      for (const at::Tensor& output : results) {
        targets.push_back(output.data_ptr());
        target_bytes.push_back(bytes_of(output));
        hold(call, output);
      }
    }
    return work(c10d::OpType::GATHER, {translated([&] {
                  return comm::gather(*group_, input.data_ptr(), bytes_of(input), targets, target_bytes, root, call);
                })},
                results);
  }

  WorkPtr scatter(Tensors& outputs, std::vector<Tensors>& inputs, const c10d::ScatterOptions& options) override {
    const at::Tensor& output = only_one(outputs, "scatter");
    const int root = root_of(options.rootRank, "scatter");
    std::vector<const void*> sources;
    std::vector<int64_t> source_bytes;
    Call call = call_of(options, outputs);
    if (rank_ == root) {
      const Tensors& pieces = list_of(inputs, output, "scatter");
      check_same_size(pieces[static_cast<size_t>(rank_)], output, "scatter");
      for (const at::Tensor& piece : pieces) {
        sources.push_back(piece.data_ptr());
        source_bytes.push_back(bytes_of(piece));
        hold(call, piece);
      }
    }
    return work(c10d::OpType::SCATTER, {translated([&] {
                  return comm::scatter(*group_, sources, source_bytes, output.data_ptr(), bytes_of(output), root,
                                       call);
                })},
                outputs);
  }

  WorkPtr barrier(const c10d::BarrierOptions& options) override {
    return work(c10d::OpType::BARRIER, {translated([&] { return comm::barrier(*group_, call_of(options)); })}, {});
  }

  // Messages.

  WorkPtr send(Tensors& tensors, int to, int tag) override {
    const at::Tensor& tensor = only_one(tensors, "send");
    return work(c10d::OpType::SEND, {translated([&] {
                  return comm::send(*group_, tensor.data_ptr(), bytes_of(tensor), to, tag, message_call(tensor));
                })},
                {});
  }

  WorkPtr recv(Tensors& tensors, int from, int tag) override {
    const at::Tensor& tensor = only_one(tensors, "recv");
    return work(c10d::OpType::RECV, {translated([&] {
                  return receive(*group_, tensor.data_ptr(), bytes_of(tensor), from, tag, message_call(tensor));
                })},
                tensors);
  }

  WorkPtr recvAnysource(Tensors& tensors, int tag) override {
    const at::Tensor& tensor = only_one(tensors, "recv");
    return work(c10d::OpType::RECVANYSOURCE, {translated([&] {
                  return receive_any(*group_, tensor.data_ptr(), bytes_of(tensor), tag, message_call(tensor));
                })},
                tensors);
  }

  // Operations between the two calls also belong to the one work that the second call returns.
  void startCoalescing() override {
    TORCH_CHECK(!is_coalescing_, "startCoalescing was called twice without endCoalescing.");
    is_coalescing_ = true;
  }
  WorkPtr endCoalescing() override {
    TORCH_CHECK(is_coalescing_, "endCoalescing was called without startCoalescing.");
    is_coalescing_ = false;
    return c10::make_intrusive<MpiWork>(rank_, c10d::OpType::COALESCED, std::exchange(coalesced_, {}),
                                        std::exchange(coalesced_outputs_, {}));
  }

 private:
  struct Pieces {
    std::vector<void*> data;
    std::vector<int64_t> num_bytes;
  };

  static std::chrono::milliseconds to_milliseconds(double seconds) {
    return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3));
  }

  WorkPtr work(c10d::OpType type, std::vector<OperationPtr> operations, const Tensors& outputs) {
    if (is_coalescing_) {
      coalesced_.insert(coalesced_.end(), operations.begin(), operations.end());
      coalesced_outputs_.insert(coalesced_outputs_.end(), outputs.begin(), outputs.end());
    }
    return c10::make_intrusive<MpiWork>(rank_, type, std::move(operations), outputs);
  }

  int root_of(int64_t root, const char* operation) const {
    TORCH_CHECK_VALUE(root >= 0 && root < size_, operation, ": root rank ", root, " is not in a group of ", size_, ".");
    return static_cast<int>(root);
  }

  static void check_same_type(const at::Tensor& a, const at::Tensor& b, const char* operation) {
    TORCH_CHECK_VALUE(a.scalar_type() == b.scalar_type(), operation, ": tensors of different types, ",
                      a.scalar_type(), " and ", b.scalar_type(), ".");
  }
  static void check_same_size(const at::Tensor& a, const at::Tensor& b, const char* operation) {
    TORCH_CHECK_VALUE(a.numel() == b.numel(), operation, ": the tensors for this rank have ", a.numel(), " and ",
                      b.numel(), " elements.");
  }

  // The list of one tensor per rank that goes with `partner`.
  const Tensors& list_of(const std::vector<Tensors>& lists, const at::Tensor& partner, const char* operation) const {
    TORCH_CHECK_VALUE(lists.size() == 1 && lists[0].size() == static_cast<size_t>(size_), operation,
                      ": expected one list of ", size_, " tensors, one per rank of the group.");
    for (const at::Tensor& tensor : lists[0]) {
      check_tensor(tensor, operation);
      check_same_type(tensor, partner, operation);
    }
    return lists[0];
  }

  // Blocks of rows for each rank; without split sizes, equal ones.
  Pieces split(const at::Tensor& tensor, const std::vector<int64_t>& splits, const char* which) const {
    const int64_t rows = tensor.dim() > 0 ? tensor.size(0) : tensor.numel();
    const auto size = static_cast<size_t>(size_);
    std::vector<int64_t> lengths = splits;
    if (splits.empty()) {
      TORCH_CHECK_VALUE(rows % size_ == 0, "all_to_all_single: the ", which, "'s ", rows,
                        " rows do not divide evenly among ", size_, " ranks. Give split sizes.");
      lengths.assign(size, rows / size_);
    }
    int64_t total = 0;
    for (const int64_t length : lengths) total += length;
    TORCH_CHECK_VALUE(lengths.size() == size && total == rows, "all_to_all_single: the ", which, "'s split sizes ",
                      lengths, " do not make up its ", rows, " rows for ", size_, " ranks.");
    const int64_t row_bytes = rows > 0 ? bytes_of(tensor) / rows : 0;
    Pieces pieces;
    auto* data = static_cast<char*>(tensor.data_ptr());
    for (const int64_t length : lengths) {
      pieces.data.push_back(data);
      pieces.num_bytes.push_back(length * row_bytes);
      data += length * row_bytes;
    }
    return pieces;
  }

  Call message_call(const at::Tensor& tensor) const {
    Call call;
    hold(call, tensor);
    return call;
  }

  OperationPtr start_all_reduce(const at::Tensor& tensor, const c10d::AllreduceOptions& options) {
    return translated([&] {
      return all_reduce(*group_, tensor.data_ptr(), tensor.numel(), reducible_type_of(tensor),
                        reduction_of(options.reduceOp), call_of(options, {tensor}));
    });
  }

  OperationPtr start_reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                    const c10d::ReduceScatterOptions& options) {
    check_tensor(output, "reduce_scatter_tensor");
    check_tensor(input, "reduce_scatter_tensor");
    check_same_type(output, input, "reduce_scatter_tensor");
    TORCH_CHECK_VALUE(input.numel() == output.numel() * size_, "reduce_scatter_tensor: the input must have ", size_,
                      " times the output's ", output.numel(), " elements, but has ", input.numel(), ".");
    const std::vector<int64_t> counts(static_cast<size_t>(size_), output.numel());
    std::vector<const void*> pieces;
    for (int i = 0; i < size_; ++i)
      pieces.push_back(static_cast<const char*>(input.data_ptr()) + i * bytes_of(output));
    return translated([&] {
      return comm::reduce_scatter(*group_, pieces, counts, output.data_ptr(), reducible_type_of(output),
                                  reduction_of(options.reduceOp), call_of(options, {output, input}));
    });
  }

  OperationPtr start_all_gather(const Tensors& outputs, const at::Tensor& input,
                                const c10d::AllgatherOptions& options) {
    check_same_size(outputs[static_cast<size_t>(rank_)], input, "all_gather");
    std::vector<void*> targets;
    std::vector<int64_t> num_bytes;
    Call call = call_of(options, {input});
    for (const at::Tensor& output : outputs) {
      targets.push_back(output.data_ptr());
      num_bytes.push_back(bytes_of(output));
      hold(call, output);
    }
    return translated([&] { return all_gather(*group_, input.data_ptr(), targets, num_bytes, call); });
  }

  OperationPtr start_all_gather_base(const at::Tensor& output, const at::Tensor& input,
                                     const c10d::AllgatherOptions& options) {
    check_tensor(output, "all_gather_into_tensor");
    check_tensor(input, "all_gather_into_tensor");
    check_same_type(output, input, "all_gather_into_tensor");
    TORCH_CHECK_VALUE(output.numel() == input.numel() * size_, "all_gather_into_tensor: the output must have ", size_,
                      " times the input's ", input.numel(), " elements, but has ", output.numel(), ".");
    const std::vector<int64_t> num_bytes(static_cast<size_t>(size_), bytes_of(input));
    std::vector<void*> targets;
    for (int i = 0; i < size_; ++i) targets.push_back(static_cast<char*>(output.data_ptr()) + i * bytes_of(input));
    return translated([&] {
      return all_gather(*group_, input.data_ptr(), targets, num_bytes, call_of(options, {output, input}));
    });
  }

  std::shared_ptr<Group> group_;
  c10::intrusive_ptr<Options> options_;
  bool is_coalescing_ = false;
  std::vector<OperationPtr> coalesced_;
  Tensors coalesced_outputs_;
};

// For tests: converts between float32 and a 16-bit float type with the core's own arithmetic.
void convert(const at::Tensor& from, const at::Tensor& to) {
  check_tensor(from, "convert");
  check_tensor(to, "convert");
  TORCH_CHECK_VALUE(from.numel() == to.numel(), "convert: different sizes");
  if (from.scalar_type() == at::kFloat)
    narrow(type_of(to), static_cast<const float*>(from.data_ptr()), from.numel(), 1.0, to.data_ptr());
  else
    widen(type_of(from), from.data_ptr(), from.numel(), static_cast<float*>(to.data_ptr()));
}

}  // namespace
}  // namespace mfugaku::comm

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  using namespace mfugaku::comm;
  using NoGil = py::call_guard<py::gil_scoped_release>;
  py::module_::import("torch.distributed");

  py::class_<MpiBackend, c10::intrusive_ptr<MpiBackend>, c10d::Backend>(module, "MpiBackend")
      .def(py::init<std::string, std::vector<int>, int, double>(), py::arg("name"), py::arg("mpi_ranks"),
           py::arg("rank"), py::arg("timeout_s"), NoGil());

  module.def(
      "initialize",
      [](bool progress_thread, bool tracing, double timeout_s) {
        return translated([&] {
          Engine& engine = Engine::instance();
          engine.initialize({progress_thread, tracing, timeout_s});
          return std::make_pair(engine.rank(), engine.size());
        });
      },
      py::arg("progress_thread"), py::arg("tracing"), py::arg("timeout_s"), NoGil(),
      "Initialises MPI; returns this process's rank in MPI_COMM_WORLD and its size.");
  module.def("is_ready", [] { return Engine::instance().is_ready(); });
  module.def("thread_level", [] { return Engine::instance().thread_level(); });
  module.def("all_gather_int", [](int value) { return translated([&] { return all_gather_int(value); }); }, NoGil());
  module.def("broadcast_text",
             [](const std::string& text, int root) { return translated([&] { return broadcast_text(text, root); }); },
             NoGil());
  module.def("stop_thread", [] { Engine::instance().stop_thread(); }, NoGil());
  module.def("abort", [](const std::string& message, int code) { Engine::instance().abort(message, code); }, NoGil());

  module.def("build_facts", [] {
    auto facts = build_facts();
    facts["torch_version"] = TORCH_VERSION;
    return facts;
  });
  module.def("mpi_library_version", &mpi_library_version);

  module.def("statistics", [] {
    py::list rows;
    for (const auto& [key, totals] : Engine::instance().recorder().totals())
      rows.append(py::make_tuple(key.first, key.second, totals.num_calls, totals.num_bytes, totals.wait_s));
    return rows;
  });
  module.def("reset_statistics", [] { Engine::instance().recorder().reset_totals(); });
  module.def("set_tracing", [](bool on) { Engine::instance().recorder().set_tracing(on); });
  module.def("drain_trace", [] {
    py::list rows;
    for (const TraceEvent& event : Engine::instance().recorder().drain_trace())
      rows.append(py::make_tuple(*event.group, event.operation, event.sequence, event.num_bytes, event.start_s,
                                 event.wait_start_s, event.end_s));
    return rows;
  });

  module.def("set_max_count", [](int64_t count) { Engine::instance().set_max_count(count); },
             "For tests: the largest count handed to one MPI call.");
  module.def("convert", &convert, "For tests: float32 to or from float16 or bfloat16, into the second tensor.");
}
