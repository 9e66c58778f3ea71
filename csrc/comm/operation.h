// One communication in flight: work through shared memory, or stages that post nonblocking MPI requests one after the
// other; the engine drives it.
#pragma once

#include <mpi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "poll.h"
#include "types.h"

namespace mfugaku::comm {

struct Totals;

// Turns an MPI error code into CommFailure with MPI's own words.
void check_mpi(int code, const char* call);

struct Operation {
  using Stage = std::function<void(Operation&)>;

  // What it is, for messages, statistics and the trace.
  const char* name = "";
  std::shared_ptr<const std::string> group;
  uint32_t group_number = 0;  // of the flight recorder
  Totals* totals = nullptr;   // of the recorder; null: not counted
  uint64_t flight_number = 0;
  std::string way = "MPI";    // what carries it
  uint64_t sequence = 0;
  int64_t num_bytes = 0;
  int rank = 0, group_size = 1;
  int peer = -1;             // rank in the group; -1: all of them
  bool is_receive_any = false;
  double timeout_s = 0;
  double start_s = 0;
  std::atomic<double> wait_start_s{0};
  double end_s = 0;

  // The work. First `poll`, if there is one, then the stages: a stage posts requests (or none) and is followed by the
  // next one when all of them are complete.
  std::shared_ptr<Poll> poll;
  std::shared_ptr<Poll> beside;  // looked after as long as the others are open; they are over when it is, too
  std::vector<Stage> stages;
  size_t next_stage = 0;
  std::vector<MPI_Request> requests;
  std::vector<MPI_Status> statuses;     // of the requests, kept to save an allocation per test
  std::vector<int64_t> expected_bytes;  // per request: bytes a receive must bring, -1 for anything else
  Keep keep;

  // The outcome, to be read once `done` is true. `error` is what happened to it, a sentence without its subject.
  std::atomic<bool> done{false};
  std::string error;
  std::function<void(const std::string& reason)> on_failure;  // under the engine's lock; not for those given up in time
  std::string unexplained;  // what went wrong, while `beside` may still tell why
  double unexplained_s = 0;
  int source = -1;
  std::vector<std::function<void()>> callbacks;  // guarded by the engine's lock until done

  void add_request(MPI_Request request, int64_t expected = -1) {
    requests.push_back(request);
    expected_bytes.push_back(expected);
  }
  void hold(std::shared_ptr<void> memory) { keep.push_back(std::move(memory)); }
  // Whether MPI or others may still read or write what it holds.
  bool has_open_work() const;

  // "all_reduce number 7 of group 'tp' (rank 1 of 4, with all ranks, 1024 bytes)"
  std::string describe() const;
  std::string describe_failure() const;
  // The `error` of an operation that took longer than `limit_s`.
  static std::string describe_timeout(double limit_s);
};

using OperationPtr = std::shared_ptr<Operation>;

}  // namespace mfugaku::comm
