// Whether the members of a group mean the same collective, where they share no memory and messages alone do not tell:
// two tensors of another type may have as many bytes, and a rank whose neighbours agree with it sees nothing wrong.
//
// Beside its work, every collective sends a ticket to the next rank and receives that of the rank before. On a ring a
// difference cannot hide: some rank meets it. That rank tells all others, who look for such notes while they wait; one
// that was done by then finds the note in the next collective. In the good case this is one message of 40 bytes per
// rank, under way at the same time as the data.
#pragma once

#include <mpi.h>

#include <string>
#include <vector>

#include "operation.h"
#include "ticket.h"

namespace mfugaku::comm {

// What members of a group tell each other when a collective has failed on one of them. Everything under the engine's
// lock.
class FailureNotes {
 public:
  FailureNotes(MPI_Comm comm, int rank, int size, int tag) : comm_(comm), rank_(rank), size_(size), tag_(tag) {}

  // Tells all others, once; later collectives of the group fail with this reason.
  void send(const std::string& reason);
  // Looks whether others have sent one.
  void look();
  // Empty while nothing is known to have failed.
  const std::string& reason() const { return reason_; }

 private:
  static constexpr size_t kMaxBytes = 512;
  MPI_Comm comm_;
  int rank_, size_, tag_;
  std::string reason_;
};

class Agreement : public Poll {
 public:
  Agreement(std::shared_ptr<FailureNotes> notes, MPI_Comm comm, int rank, int size, int tag, const Ticket& ticket);
  // After an error it only waits for MPI to let go of its memory.
  bool advance(bool& has_moved) final;
  bool is_holding_memory() const final { return requests_[0] != MPI_REQUEST_NULL || requests_[1] != MPI_REQUEST_NULL; }

 private:
  void post();
  bool are_tickets_over();
  [[noreturn]] void fail(const std::string& reason);

  std::shared_ptr<FailureNotes> notes_;
  MPI_Comm comm_;
  int rank_, size_, tag_;
  Ticket own_, received_;
  MPI_Request requests_[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
  bool is_posted_ = false, has_agreed_ = false, has_failed_ = false;
  int num_advances_ = 0;
};

}  // namespace mfugaku::comm
