// Carries out a schedule with the messages of a transport: a state machine that goes as far as messages let it.
//
// The transport is called from within advance() and run() alone, so whoever calls these decides about threads and
// locks. Each strand is a channel of its own, since ranks may come to the rounds of different strands in different
// orders.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "poll.h"
#include "schedule/schedule.h"
#include "transport/transport.h"
#include "types.h"
#include "wire.h"

namespace mfugaku::comm {

// What a schedule works on. `scale` multiplies results: 1 but for averages.
struct Data {
  const void* input;
  void* output;
  DataType type;
  Reduction reduction;
  double scale;
  Wire wire = {};
  int64_t num_input = 0, num_output = 0;  // elements there, where they are known
};

class Executor : public Poll {
 public:
  Executor(schedule::Schedule schedule, std::unique_ptr<Transport> transport, const Data& data);
  bool advance(bool& has_moved) final;
  // Messages under way hold memory until they are over, also after an error: advance() then only waits for that.
  bool is_holding_memory() const final { return transport_->has_open(); }

  // Waits until it is over, for programs that have nothing else to do.
  void run();

 protected:
  // After each piece of work; `num_bytes` were read and written. Simulations let their clock go on.
  virtual void on_work(int64_t) {}

 private:
  struct Running {
    schedule::Strand strand;
    int open_parts = 0;  // of messages
    bool is_posted = false;
    std::shared_ptr<char> narrow;  // the messages of its round, as they go over a narrow wire
  };

  bool is_over() const { return num_over_ == schedule_.num_strands; }
  Running& running(int strand) { return running_[static_cast<size_t>(strand % schedule_.window)]; }
  bool is_strand_over(int strand) const { return is_over_[static_cast<size_t>(strand)]; }
  bool start();
  bool may_begin_strand(int strand) const;
  bool may_begin_round(int strand);
  void post(int strand);
  void post(int strand, const schedule::Message& message, char* narrow);
  void widen_received(Running& state, int round);
  void finish_round(int strand);
  void work(const schedule::Work& work);
  bool complete(bool is_waiting);
  bool is_rid_of_messages();
  char* at(const schedule::Place& place) const;

  schedule::Schedule schedule_;
  std::unique_ptr<Transport> transport_;
  Data data_;
  int64_t element_bytes_, sum_bytes_;
  std::shared_ptr<char> elements_, sums_;
  std::vector<Running> running_;
  std::vector<int> rounds_over_;  // by strand
  std::vector<bool> is_over_;     // by strand
  int first_open_ = 0, num_begun_ = 0, num_over_ = 0;
  bool has_failed_ = false;
  std::vector<int> finished_;  // strands of parts that are over
};

}  // namespace mfugaku::comm
