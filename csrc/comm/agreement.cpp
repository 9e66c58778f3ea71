#include "agreement.h"

#include <memory>
#include <utility>

namespace mfugaku::comm {

void FailureNotes::send(const std::string& reason) {
  if (!reason_.empty()) return;
  reason_ = reason;
  // Kept to the end of the process: nobody waits for these messages to be over.
  static auto* const kept = new std::vector<std::unique_ptr<char[]>>();
  kept->push_back(std::make_unique<char[]>(kMaxBytes));
  char* const text = kept->back().get();
  reason.copy(text, kMaxBytes - 1);
  for (int step = 1; step < size_; ++step) {
    MPI_Request request;
    if (MPI_Isend(text, kMaxBytes, MPI_BYTE, (rank_ + step) % size_, tag_, comm_, &request) == MPI_SUCCESS)
      MPI_Request_free(&request);
  }
}

void FailureNotes::look() {
  if (!reason_.empty()) return;
  int is_there = 0;
  MPI_Status status;
  check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, tag_, comm_, &is_there, &status), "MPI_Iprobe");
  if (!is_there) return;
  char text[kMaxBytes] = "";
  // Returns at once: the message is short and has arrived.
  check_mpi(MPI_Recv(text, kMaxBytes, MPI_BYTE, status.MPI_SOURCE, tag_, comm_, MPI_STATUS_IGNORE), "MPI_Recv");
  reason_ = "rank " + std::to_string(status.MPI_SOURCE) + " of the group says: " + text;
}

Agreement::Agreement(std::shared_ptr<FailureNotes> notes, MPI_Comm comm, int rank, int size, int tag,
                     const Ticket& ticket)
    : notes_(std::move(notes)), comm_(comm), rank_(rank), size_(size), tag_(tag), own_(ticket) {}

bool Agreement::advance(bool& has_moved) {
  // Waits this often between two looks: notes are rare, and a look costs as much as a test.
  constexpr int kAdvancesBetweenLooks = 64;
  if (has_failed_) return are_tickets_over();
  if (!is_posted_) {
    if (!notes_->reason().empty()) fail("an earlier collective of this group failed: " + notes_->reason());
    post();
    has_moved = true;
  }
  if (!has_agreed_ && are_tickets_over()) {
    const std::string difference = describe_difference(own_, (rank_ + size_ - 1) % size_, received_);
    if (!difference.empty())
      fail(difference + "; all members must call the same collectives with the same arguments");
    has_agreed_ = has_moved = true;
  }
  if (++num_advances_ % kAdvancesBetweenLooks == 0) {
    notes_->look();
    if (!notes_->reason().empty()) fail(notes_->reason());
  }
  return has_agreed_;
}

void Agreement::post() {
  const int left = (rank_ + size_ - 1) % size_, right = (rank_ + 1) % size_;
  check_mpi(MPI_Irecv(&received_, sizeof(Ticket), MPI_BYTE, left, tag_, comm_, &requests_[0]), "MPI_Irecv");
  check_mpi(MPI_Isend(&own_, sizeof(Ticket), MPI_BYTE, right, tag_, comm_, &requests_[1]), "MPI_Isend");
  is_posted_ = true;
}

bool Agreement::are_tickets_over() {
  int are_over = 0;
  if (is_holding_memory()) check_mpi(MPI_Testall(2, requests_, &are_over, MPI_STATUSES_IGNORE), "a ticket");
  return !is_holding_memory();
}

void Agreement::fail(const std::string& reason) {
  has_failed_ = true;
  throw CommFailure(reason);
}

}  // namespace mfugaku::comm
