// The event that torch's profiler shows of a piece of work, from its start until somebody finds it over.
// Included by torch_backend.cpp alone, as torch's headers are slow to compile.
#pragma once

#include <ATen/record_function.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <functional>
#include <mutex>
#include <utility>

namespace mfugaku::comm {

// Under the names that torch's own MPI backend gives them; null for what has no event.
inline const char* title_of(c10d::OpType type) {
  switch (type) {
    case c10d::OpType::ALLREDUCE:
    case c10d::OpType::ALLREDUCE_COALESCED: return "mpi:all_reduce";
    case c10d::OpType::REDUCE: return "mpi:reduce";
    case c10d::OpType::REDUCE_SCATTER: return "mpi:reduce_scatter";
    case c10d::OpType::_REDUCE_SCATTER_BASE: return "mpi:_reduce_scatter_base";
    case c10d::OpType::BROADCAST: return "mpi:broadcast";
    case c10d::OpType::ALLGATHER:
    case c10d::OpType::ALLGATHER_COALESCED: return "mpi:all_gather";
    case c10d::OpType::_ALLGATHER_BASE: return "mpi:_all_gather_base";
    case c10d::OpType::ALLTOALL:
    case c10d::OpType::ALLTOALL_BASE: return "mpi:all_to_all";
    case c10d::OpType::GATHER: return "mpi:gather";
    case c10d::OpType::SCATTER: return "mpi:scatter";
    case c10d::OpType::BARRIER: return "mpi:barrier";
    case c10d::OpType::SEND: return "mpi:send";
    case c10d::OpType::RECV: return "mpi:recv";
    case c10d::OpType::RECVANYSOURCE: return "mpi:recvAnySource";
    default: return nullptr;
  }
}

inline bool is_profiling() { return at::getStepCallbacksUnlessEmpty(at::RecordScope::USER_SCOPE).has_value(); }

// Ends an event once, from whichever thread comes first, or when nobody is left who could.
class Recording {
 public:
  explicit Recording(std::function<void()> end) : end_(std::move(end)) {}
  ~Recording() { end(); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  void end() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (auto end = std::exchange(end_, nullptr)) end();
  }

 private:
  std::mutex mutex_;
  std::function<void()> end_;
};

}  // namespace mfugaku::comm
