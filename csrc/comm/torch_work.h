// c10d's handle of one or more operations in flight.
// Included by torch_backend.cpp alone, as torch's headers are slow to compile.
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <mutex>
#include <optional>

#include "torch_profile.h"
#include "torch_tensors.h"

namespace mfugaku::comm {

class MpiWork : public c10d::Work {
 public:
  // `inputs` are for the profiler, which shows their sizes.
  MpiWork(int rank, c10d::OpType type, std::vector<OperationPtr> operations, Tensors outputs, const Tensors& inputs)
      : Work(rank, type, is_profiling() ? title_of(type) : nullptr,
             is_profiling() ? std::optional<Tensors>(inputs) : std::nullopt),
        operations_(std::move(operations)),
        outputs_(std::move(outputs)) {
    if (recordFunctionEndCallback_)
      recording_ = std::make_shared<Recording>(std::exchange(recordFunctionEndCallback_, nullptr));
  }

  bool isCompleted() override {
    if (!is_done()) drive_all();
    if (!is_done()) return false;
    end_recording();
    return true;
  }
  bool isSuccess() const override { return is_done() && first_error().empty(); }
  std::exception_ptr exception() const override {
    if (!is_done() || first_error().empty()) return nullptr;
    return as_torch_error(first_error());
  }
  int sourceRank() const override { return operations_.empty() ? -1 : source_of(*operations_.front()); }
  Tensors result() override { return outputs_; }
  void synchronize() override { wait(); }
  bool wait(std::chrono::milliseconds timeout = kNoTimeout) override {
    translated([&] { wait_for(operations_, std::chrono::duration<double>(timeout).count()); });
    end_recording();
    return true;
  }
  uint64_t getSequencenumber() const override { return operations_.empty() ? 0 : sequence_of(*operations_.front()); }
  void abort() override {
    TORCH_CHECK(false, "MPI has no way to abort one operation; megatron_fugaku.comm.abort() ends the job.");
  }

  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override {
    std::lock_guard<std::mutex> lock(future_mutex_);
    if (future_) return future_;
    future_ = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
    auto num_open = std::make_shared<std::atomic<size_t>>(operations_.size() + 1);
    const auto one_is_done = [num_open, future = future_, outputs = outputs_, operations = operations_,
                              recording = recording_] {
      if (--*num_open > 0) return;
      if (recording) recording->end();
      const std::string error = first_error_of(operations);
      if (error.empty())
        future->markCompleted(c10::IValue(outputs));
      else
        future->setError(as_torch_error(error));
    };
    for (const OperationPtr& operation : operations_) when_done(operation, one_is_done);
    one_is_done();
    return future_;
  }

 private:
  void end_recording() const {
    if (recording_) recording_->end();
  }
  bool is_done() const {
    for (const OperationPtr& operation : operations_)
      if (!comm::is_done(*operation)) return false;
    return true;
  }
  std::string first_error() const { return first_error_of(operations_); }
  static std::string first_error_of(const std::vector<OperationPtr>& operations) {
    for (const OperationPtr& operation : operations)
      if (std::string failure = failure_of(*operation); !failure.empty()) return failure;
    return {};
  }
  static std::exception_ptr as_torch_error(const std::string& message) {
    try {
      C10_THROW_ERROR(DistBackendError, message);
    } catch (...) {
      return std::current_exception();
    }
  }

  std::vector<OperationPtr> operations_;
  Tensors outputs_;
  std::shared_ptr<Recording> recording_;  // null unless the profiler runs
  std::mutex future_mutex_;
  c10::intrusive_ptr<c10::ivalue::Future> future_;
};

}  // namespace mfugaku::comm
