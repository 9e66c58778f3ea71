// Carries out a schedule with nonblocking MPI messages: a state machine that goes as far as messages let it.
//
// Every MPI call is made from within advance() or run(), so whoever calls these decides about threads and locks. Each
// strand has a tag of its own, since ranks may come to the rounds of different strands in different orders.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "operation.h"
#include "schedule/schedule.h"
#include "types.h"

namespace mfugaku::comm {

// How messages of a schedule go: strand i has tag first_tag + i; longer messages than max_bytes go in parts.
struct Carrier {
  MPI_Comm comm;
  int first_tag;
  int64_t max_bytes;
};

// What a schedule works on. `scale` multiplies results: 1 but for averages.
struct Data {
  const void* input;
  void* output;
  DataType type;
  Reduction reduction;
  double scale;
};

class Executor : public Poll {
 public:
  Executor(schedule::Schedule schedule, const Carrier& carrier, const Data& data);
  bool advance(bool& has_moved) final;
  // Memory is in MPI's hands until the messages under way are over, also after an error: advance() then only waits.
  bool is_holding_memory() const final { return !requests_.empty(); }

  // Waits until it is over, for programs that have nothing else to do.
  void run();

 protected:
  // After each piece of work; `num_bytes` were read and written. Simulations let their clock go on.
  virtual void on_work(int64_t) {}

 private:
  struct Running {
    schedule::Strand strand;
    int open_messages = 0;
    bool is_posted = false;
  };
  struct Owner {
    int strand;
    int64_t expected_bytes;  // -1 for a send
  };

  bool is_over() const { return num_over_ == schedule_.num_strands; }
  Running& running(int strand) { return running_[static_cast<size_t>(strand % schedule_.window)]; }
  bool is_strand_over(int strand) const { return is_over_[static_cast<size_t>(strand)]; }
  bool start();
  bool may_begin_round(int strand);
  void post(int strand);
  void post(int strand, const schedule::Message& message);
  void finish_round(int strand);
  void work(const schedule::Work& work);
  bool complete(bool is_waiting);
  char* at(const schedule::Place& place) const;

  schedule::Schedule schedule_;
  Carrier carrier_;
  Data data_;
  int64_t element_bytes_, sum_bytes_;
  std::shared_ptr<char> elements_, sums_;
  std::vector<Running> running_;
  std::vector<int> rounds_over_;  // by strand
  std::vector<bool> is_over_;     // by strand
  int first_open_ = 0, num_begun_ = 0, num_over_ = 0;
  bool has_failed_ = false;
  std::vector<MPI_Request> requests_;
  std::vector<Owner> owners_;  // of the requests
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
};

}  // namespace mfugaku::comm
