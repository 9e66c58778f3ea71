// The one owner of MPI in this process: initialisation, progress, waiting, finalisation.
//
// Rules that make it correct under MPI_THREAD_SERIALIZED: every MPI call is made under one mutex; the mutex is never
// held across a blocking wait; only nonblocking MPI calls are used, but for MPI_Comm_create_group, which is entered
// after a nonblocking handshake of the members and therefore returns promptly. Whoever waits for one operation drives
// all of them, so operations of two groups may be waited for in opposite order on different ranks.
#pragma once

#include <mpi.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core.h"
#include "flight.h"
#include "operation.h"
#include "record.h"

namespace mfugaku::comm {

class Engine {
 public:
  static Engine& instance();

  // Initialises MPI if nobody has, and the base communicator over all processes. Collective over the job; idempotent.
  void initialize(const EngineOptions& options);
  bool is_ready() const { return ready_.load(); }
  void check_ready() const;
  int rank() const { return rank_; }
  int size() const { return size_; }
  int thread_level() const { return thread_level_; }
  int max_tag() const { return max_tag_; }
  MPI_Comm base() const { return base_; }
  double timeout_s() const { return options_.timeout_s; }
  bool may_share_memory() const { return options_.shared_memory; }
  bool wants_utofu() const { return options_.utofu; }
  // A number that ranks of MPI_COMM_WORLD on one node have in common.
  const std::vector<uint64_t>& nodes() const { return nodes_; }
  uint64_t node_of(int rank) const { return nodes_[static_cast<size_t>(rank)]; }

  // Largest element count or byte count handed to one MPI call; lowered by tests of the splitting of large messages.
  int64_t max_count() const { return max_count_; }
  void set_max_count(int64_t max_count) { max_count_ = max_count; }

  // From now on, waiting gives the core away at once: the ranks of this node are more than its cores.
  void yield_at_once() { spin_s_.store(0); }

  // Starts the operation: posts its first stage.
  void submit(const OperationPtr& operation);
  // Drives every operation in flight once; true when at least one of them ended or got further through shared memory.
  bool progress();
  // Drives what is in flight a little, if nobody else does at the moment: for long computations between two tiles, from
  // any thread. Ends no operation, calls nobody back and never waits, so it costs a few tests.
  void poke();
  // Waits until all are over. Throws CommFailure on an MPI error or after `timeout_s` (0: each operation's own).
  void wait(const std::vector<OperationPtr>& operations, double timeout_s = 0);
  // Calls `callback` (from any thread, no lock held) when the operation is over, at once if it is. A thread drives
  // progress from then on, since whoever waits for the callback does not; it fails the operation after its timeout.
  void when_done(const OperationPtr& operation, std::function<void()> callback);

  // Runs `body` under the lock: for communicator creation and queries.
  void locked(const std::function<void()>& body);

  // Whether operations of a group are in flight. Call it under the lock.
  bool has_open_operations(const std::string& group) const;

  // Stops the progress thread; called while the interpreter is still whole.
  void stop_thread();
  // Calls MPI no more; for the end of an MPI that somebody else has initialised.
  void leave();
  // Waits for pending operations and for all ranks, then MPI_Finalize. `exit_status` != 0 ends the whole job instead.
  void finalize(int exit_status);
  [[noreturn]] void abort(const std::string& message, int code);

  Recorder& recorder() { return recorder_; }
  // To be used under the lock.
  Flight& flight() { return flight_; }
  // Throws std::runtime_error with the reason when the file cannot be made or mapped.
  void record_flight(const std::string& path);

 private:
  bool progress(const Operation* awaited);  // the one that the caller waits for, for the record, or null
  bool advance(Operation& operation);       // true when it ended or got further through shared memory
  void advance_abandoned(std::vector<OperationPtr>& finished);
  void give_up_if_late(Operation& operation);
  void drive_mpi_of_others(bool has_moved);
  // Whether any thread may: the lock keeps ours apart, but not those of whoever else uses MPI here.
  bool may_call_from_any_thread() const {
    return thread_level_ >= (owns_mpi_ ? MPI_THREAD_SERIALIZED : MPI_THREAD_MULTIPLE);
  }
  void check_progress_core() const;
  void leave_at_finalize();
  void start_thread();
  void run_thread();
  void find_nodes();

  EngineOptions options_;
  std::atomic<bool> ready_{false};
  bool owns_mpi_ = false;
  int rank_ = 0, size_ = 1, thread_level_ = MPI_THREAD_SINGLE, max_tag_ = 32767, pid_ = 0;
  MPI_Comm base_ = MPI_COMM_NULL;
  std::vector<uint64_t> nodes_;  // by rank
  int64_t max_count_ = int64_t{1} << 30;

  std::mutex mutex_;
  std::vector<OperationPtr> active_;
  std::atomic<size_t> num_active_{0};
  std::vector<OperationPtr> abandoned_;  // failed with work still open: their memory must stay
  std::atomic<double> spin_s_{200e-6};
  int num_idle_rounds_ = 0;
  Recorder recorder_;
  Flight flight_;

  std::mutex thread_mutex_;
  std::condition_variable thread_wakes_;
  std::thread thread_;
  bool thread_stops_ = false;
  std::atomic<int> num_callbacks_{0};
};

// Back-off while waiting: looks again at once for `spin_s`, then yields the core, sleeps for longer and longer after
// 2 ms without news.
class Backoff {
 public:
  explicit Backoff(double spin_s) : spin_s_(spin_s) {}
  // Returns the time, or 0 while it has not been looked at.
  double pause();
  void reset() { begin_s_ = 0, num_pauses_ = 0; }

 private:
  double spin_s_;
  double begin_s_ = 0;
  int num_pauses_ = 0;
};

}  // namespace mfugaku::comm
