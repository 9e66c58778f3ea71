// c10d's Backend on top of the communication core, and the Python module. This is the one translation unit that knows
// torch, with the other headers torch_*.h, and it knows no MPI: it is slow to compile, and one object of it serves
// every MPI. What needs no torch header belongs elsewhere.
#include <ATen/ops/from_blob.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/utils/pybind.h>
#include <torch/version.h>

#include <tuple>
#include <utility>

#include "bootstrap.h"
#include "build_facts.h"
#include "collectives/collectives.h"
#include "reduce.h"
#include "shared/streams.h"
#include "torch_algorithms.h"
#include "torch_arena.h"
#include "torch_sparse.h"
#include "torch_stock.h"
#include "torch_tensors.h"
#include "torch_work.h"
#include "wire.h"

namespace mfugaku::comm {
namespace {

using WorkPtr = c10::intrusive_ptr<c10d::Work>;

class MpiBackend : public c10d::Backend {
 public:
  MpiBackend(std::string name, std::vector<int> mpi_ranks, int rank, double timeout_s)
      : Backend(rank, static_cast<int>(mpi_ranks.size())),
        group_(translated([&] { return create_group(name, std::move(mpi_ranks), rank, timeout_s); })),
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
    set_timeout_s(*group_, std::chrono::duration<double>(timeout).count());
  }
  void setSequenceNumberForGroup() override {}
  uint64_t getSequenceNumberForGroup() override { return num_collectives_of(*group_); }
  std::string transport() const { return shares_memory(*group_) ? "shared memory" : "MPI"; }
  int ranks_per_node() const { return ranks_per_node_of(*group_); }
  std::string wire() const { return name_of(wire_of(*group_)); }
  void set_wire(const std::string& name) { comm::set_wire(*group_, wire_named(name)); }
  using LaneTuple = std::tuple<std::vector<int>, std::vector<int>, double>;  // order, directions, weight
  void set_lanes(const std::string& shape, std::vector<int> places, const std::vector<LaneTuple>& tuples) {
    std::vector<schedule::Lane> lanes;
    for (const auto& [order, directions, weight] : tuples) lanes.push_back({order, directions, weight});
    translated([&] {
      comm::set_lanes(*group_, schedule::Choice::of_lanes(shape, std::move(places), std::move(lanes)));
    });
  }
  void shutdown() override { translated([&] { shut_down(*group_); }); }

  // Reductions.

  WorkPtr allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override {
    if (tensors.size() == 1 && tensors[0].is_sparse()) {
      all_reduce_sparse(*this, tensors[0], options);
      return work(c10d::OpType::ALLREDUCE, {}, tensors);
    }
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
    const Tensors& pieces = list_of(inputs, output, size_, "reduce_scatter");
    check_same_size(pieces[static_cast<size_t>(rank_)], output, "reduce_scatter");
    std::vector<const void*> data;
    std::vector<int64_t> counts;
    Call call = call_of(options, outputs);
    Reduction reduction{};
    for (const at::Tensor& piece : pieces) {
      const Given given = given_of(piece, options.reduceOp);
      reduction = given.reduction;
      data.push_back(given.tensor.data_ptr());
      counts.push_back(piece.numel());
      hold(call, given.tensor);
    }
    return work(c10d::OpType::REDUCE_SCATTER, {translated([&] {
                  return comm::reduce_scatter(*group_, data, counts, output.data_ptr(), reducible_type_of(output),
                                              reduction, call);
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
    const Tensors& gathered = list_of(outputs, input, size_, "all_gather");
    return work(c10d::OpType::ALLGATHER, {start_all_gather(gathered, input, options)}, gathered, inputs);
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
      const Tensors& gathered = list_of(column, inputs[i], size_, "all_gather_coalesced");
      operations.push_back(start_all_gather(gathered, inputs[i], options));
      all.insert(all.end(), column[0].begin(), column[0].end());
    }
    return work(c10d::OpType::ALLGATHER_COALESCED, std::move(operations), all, inputs);
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
    std::vector<Parcel> parcels(static_cast<size_t>(size_));
    split_rows(input, input_splits, size_, "input", [&](size_t rank, const char* data, int64_t num_bytes) {
      parcels[rank].piece = data, parcels[rank].piece_bytes = num_bytes;
    });
    split_rows(output, output_splits, size_, "output", [&](size_t rank, char* data, int64_t num_bytes) {
      parcels[rank].out = data, parcels[rank].out_bytes = num_bytes;
    });
    return work(c10d::OpType::ALLTOALL_BASE, {translated([&] {
                  return all_to_all(*group_, std::move(parcels), call_of(options, {output, input}));
                })},
                {output});
  }

  WorkPtr alltoall(Tensors& outputs, Tensors& inputs, const c10d::AllToAllOptions& options) override {
    const auto size = static_cast<size_t>(size_);
    TORCH_CHECK_VALUE(outputs.size() == size && inputs.size() == size, "all_to_all: expected ", size,
                      " tensors in each list, got ", outputs.size(), " outputs and ", inputs.size(), " inputs.");
    std::vector<Parcel> parcels;
    Call call = call_of(options, outputs);
    for (size_t i = 0; i < size; ++i) {
      check_tensor(outputs[i], "all_to_all");
      check_tensor(inputs[i], "all_to_all");
      check_same_type(outputs[i], inputs[i], "all_to_all");
      parcels.push_back({inputs[i].data_ptr(), bytes_of(inputs[i]), outputs[i].data_ptr(), bytes_of(outputs[i])});
      hold(call, inputs[i]);
    }
    return work(c10d::OpType::ALLTOALL, {translated([&] {
                  return all_to_all(*group_, std::move(parcels), call);
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
      results = list_of(outputs, input, size_, "gather");
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
      const Tensors& pieces = list_of(inputs, output, size_, "scatter");
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

  void monitoredBarrier(const c10d::BarrierOptions& options, bool wait_all_ranks) override {
    const auto timeout = options.timeout == c10d::kUnsetTimeout ? options_->timeout : options.timeout;
    translated([&] {
      monitored_barrier(*group_, std::chrono::duration<double>(timeout).count(), wait_all_ranks);
    });
  }

  // Messages.

  WorkPtr send(Tensors& tensors, int to, int tag) override {
    const at::Tensor& tensor = only_one(tensors, "send");
    return work(c10d::OpType::SEND, {translated([&] {
                  return comm::send(*group_, tensor.data_ptr(), bytes_of(tensor), to, tag, message_call(tensor));
                })},
                {}, tensors);
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
                                        std::exchange(coalesced_outputs_, {}), Tensors());
  }

 private:
  static std::chrono::milliseconds to_milliseconds(double seconds) {
    return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3));
  }

  WorkPtr work(c10d::OpType type, std::vector<OperationPtr> operations, const Tensors& outputs) {
    return work(type, std::move(operations), outputs, outputs);
  }

  WorkPtr work(c10d::OpType type, std::vector<OperationPtr> operations, const Tensors& outputs,
               const Tensors& inputs) {
    if (is_coalescing_) {
      coalesced_.insert(coalesced_.end(), operations.begin(), operations.end());
      coalesced_outputs_.insert(coalesced_outputs_.end(), outputs.begin(), outputs.end());
    }
    return c10::make_intrusive<MpiWork>(rank_, type, std::move(operations), outputs, inputs);
  }

  int root_of(int64_t root, const char* operation) const {
    TORCH_CHECK_VALUE(root >= 0 && root < size_, operation, ": root rank ", root, " is not in a group of ", size_, ".");
    return static_cast<int>(root);
  }

  OperationPtr start_all_reduce(const at::Tensor& tensor, const c10d::AllreduceOptions& options) {
    const Given given = given_of(tensor, options.reduceOp);
    if (!given.tensor.is_same(tensor)) tensor.copy_(given.tensor);
    return translated([&] {
      return all_reduce(*group_, tensor.data_ptr(), tensor.numel(), reducible_type_of(tensor), given.reduction,
                        call_of(options, {tensor}));
    });
  }

  OperationPtr start_reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                    const c10d::ReduceScatterOptions& options) {
    check_tensor(output, "reduce_scatter_tensor");
    check_tensor(input, "reduce_scatter_tensor");
    check_same_type(output, input, "reduce_scatter_tensor");
    TORCH_CHECK_VALUE(input.numel() == output.numel() * size_, "reduce_scatter_tensor: the input must have ", size_,
                      " times the output's ", output.numel(), " elements, but has ", input.numel(), ".");
    const Given given = given_of(input, options.reduceOp);
    const std::vector<int64_t> counts(static_cast<size_t>(size_), output.numel());
    std::vector<const void*> pieces;
    for (int i = 0; i < size_; ++i)
      pieces.push_back(static_cast<const char*>(given.tensor.data_ptr()) + i * bytes_of(output));
    return translated([&] {
      return comm::reduce_scatter(*group_, pieces, counts, output.data_ptr(), reducible_type_of(output),
                                  given.reduction, call_of(options, {output, given.tensor}));
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
           py::arg("rank"), py::arg("timeout_s"), NoGil())
      .def_property_readonly("transport", &MpiBackend::transport)
      .def_property_readonly("ranks_per_node", &MpiBackend::ranks_per_node)
      .def_property("wire", &MpiBackend::wire, &MpiBackend::set_wire)
      .def("set_lanes", &MpiBackend::set_lanes, py::arg("shape"), py::arg("places"), py::arg("lanes"),
           "Long vectors go by these lanes (order, directions, weight) of a torus on which rank r has places[r].");
  py::class_<StockBackend, c10::intrusive_ptr<StockBackend>, c10d::Backend>(module, "StockBackend")
      .def(py::init<int, int>(), py::arg("rank"), py::arg("size"), NoGil());

  module.def(
      "initialize",
      [](bool progress_thread, bool tracing, double timeout_s, bool shared_memory, bool utofu, int ranks_per_node,
         int progress_core) {
        return translated([&] {
          return initialize(
              {progress_thread, progress_core, tracing, timeout_s, shared_memory, utofu, ranks_per_node});
        });
      },
      py::arg("progress_thread"), py::arg("tracing"), py::arg("timeout_s"),
      py::arg("shared_memory") = true, py::arg("utofu") = false, py::arg("ranks_per_node") = 0,
      py::arg("progress_core") = -1, NoGil(),
      "Initialises MPI; returns this process's rank in MPI_COMM_WORLD and its size.");
  module.def("world", &world);
  module.def("is_ready", &is_ready);
  module.def("thread_level", &thread_level);
  module.def("nodes", &nodes, "A number of every MPI rank's node, alike for ranks of one node.");
  module.def("all_gather_int", [](int value) { return translated([&] { return all_gather_int(value); }); }, NoGil());
  module.def("broadcast_text",
             [](const std::string& text, int root) { return translated([&] { return broadcast_text(text, root); }); },
             NoGil());
  module.def("poke_address", [] { return reinterpret_cast<intptr_t>(&mfugaku_comm_poke); },
             "Of the function that lets communication in flight get on, for long computations to call.");
  module.def("stop_thread", &stop_thread, NoGil());
  module.def("abort", &abort_job, NoGil());

  module.def("arena_open", [](int64_t num_bytes) { return open_arena(num_bytes); },
             "Makes the arena, of this capacity (0: the machine's memory); returns why there is none, or \"\".");
  module.def("arena_is_shared", &is_arena_shared, "Whether another rank of the node can see it.");
  module.def("arena_empty", &arena_empty, "A tensor of `count` elements in the arena, of the other tensor's type.");
  module.def("arena_holds", &arena_holds);
  module.def("arena_place", &place_in_arena,
             "From now on, new CPU tensors of at least so many bytes are made in the arena, by this thread alone or by "
             "all; -1: none. Returns the number before.", py::arg("min_bytes"), py::arg("this_thread_alone"));

  module.def("build_facts", [] {
    auto facts = build_facts();
    facts["torch_version"] = TORCH_VERSION;
    return facts;
  });
  module.def("mpi_library_version", &mpi_library_version);

  module.def("record_flight", &record_flight, NoGil());
  module.def("describe_group", &describe_group, NoGil());

  module.def("statistics", [] {
    py::list rows;
    for (const auto& [key, totals] : recorder().totals())
      rows.append(py::make_tuple(key.first, key.second, totals.num_calls, totals.num_bytes, totals.wait_s));
    return rows;
  });
  module.def("reset_statistics", [] { recorder().reset_totals(); });
  module.def("set_tracing", [](bool on) { recorder().set_tracing(on); });
  module.def("drain_trace", [] {
    py::list rows;
    for (const TraceEvent& event : recorder().drain_trace())
      rows.append(py::make_tuple(*event.group, event.operation, event.sequence, event.num_bytes, event.start_s,
                                 event.wait_start_s, event.end_s, event.way));
    return rows;
  });

  define_algorithms(module);
  module.def("set_max_count", &set_max_count,
             "For tests: the largest count handed to one MPI call.");
  module.def("set_cache_bytes", &shared::set_cache_bytes,
             "For tests: what the caches hold; longer results are written past them. 0: what the system says.");
  module.def("convert", &convert, "For tests: float32 to or from float16 or bfloat16, into the second tensor.");
}
