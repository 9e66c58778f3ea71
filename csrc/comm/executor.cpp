#include "executor.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "combine.h"
#include "scratch.h"

namespace mfugaku::comm {

using schedule::Buffer;

Executor::Executor(schedule::Schedule schedule, const Carrier& carrier, const Data& data)
    : schedule_(std::move(schedule)),
      carrier_(carrier),
      data_(data),
      element_bytes_(size_of(data.type)),
      sum_bytes_(size_of(sum_type_of(data.type))),
      running_(static_cast<size_t>(schedule_.window)),
      rounds_over_(static_cast<size_t>(schedule_.num_strands)),
      is_over_(rounds_over_.size()) {
  if (schedule_.num_scratch_elements > 0) elements_ = Scratch::acquire(schedule_.num_scratch_elements * element_bytes_);
  if (schedule_.num_scratch_partials > 0) sums_ = Scratch::acquire(schedule_.num_scratch_partials * sum_bytes_);
}

char* Executor::at(const schedule::Place& place) const {
  switch (place.buffer) {
    case Buffer::Input: return static_cast<char*>(const_cast<void*>(data_.input)) + place.begin * element_bytes_;
    case Buffer::Output: return static_cast<char*>(data_.output) + place.begin * element_bytes_;
    case Buffer::Elements: return elements_.get() + place.begin * element_bytes_;
    case Buffer::Partials: break;
  }
  return sums_.get() + place.begin * sum_bytes_;
}

bool Executor::advance(bool& has_moved) {
  if (has_failed_) {
    complete(false);
    return requests_.empty();
  }
  try {
    has_moved |= start();
    while (complete(false)) {
      has_moved = true;
      start();
    }
  } catch (...) {
    has_failed_ = true;
    throw;
  }
  return is_over();
}

void Executor::run() {
  start();
  while (!is_over()) {
    complete(true);
    start();
  }
}

// Posts every round that may begin, the oldest strands first; true when there was one.
bool Executor::start() {
  bool has_started = false;
  for (bool is_changing = true; is_changing;) {
    is_changing = false;
    while (first_open_ < num_begun_ && is_strand_over(first_open_)) ++first_open_;
    while (num_begun_ < schedule_.num_strands &&
           (num_begun_ < schedule_.window || is_strand_over(num_begun_ - schedule_.window))) {
      const int strand = num_begun_++;
      running(strand) = Running{schedule_.build_strand(strand), 0, false};
      if (running(strand).strand.num_rounds() == 0) is_over_[static_cast<size_t>(strand)] = true, ++num_over_;
    }
    for (int strand = first_open_; strand < num_begun_; ++strand)
      while (!is_strand_over(strand) && !running(strand).is_posted && may_begin_round(strand)) {
        post(strand);
        is_changing = has_started = true;
      }
  }
  return has_started;
}

bool Executor::may_begin_round(int strand) {
  const int before = strand - schedule_.stride;
  const int after = running(strand).strand.round(rounds_over_[static_cast<size_t>(strand)]).after;
  return after == 0 || before < 0 || is_strand_over(before) || rounds_over_[static_cast<size_t>(before)] >= after;
}

void Executor::post(int strand) {
  Running& state = running(strand);
  const int round = rounds_over_[static_cast<size_t>(strand)];
  state.is_posted = true;
  for (size_t i = state.strand.begin_of_messages(round); i < state.strand.round(round).end_of_messages; ++i)
    post(strand, state.strand.messages()[i]);
  if (state.open_messages == 0) finish_round(strand);
}

void Executor::post(int strand, const schedule::Message& message) {
  const int64_t num_bytes = message.count * (message.place.buffer == Buffer::Partials ? sum_bytes_ : element_bytes_);
  const int tag = carrier_.first_tag + strand;
  char* const data = at(message.place);
  for (int64_t begin = 0; begin < num_bytes; begin += carrier_.max_bytes) {
    const int64_t length = std::min(carrier_.max_bytes, num_bytes - begin);
    MPI_Request request;
    if (message.is_send)
      check_mpi(MPI_Isend(data + begin, static_cast<int>(length), MPI_BYTE, message.peer, tag, carrier_.comm, &request),
                "MPI_Isend");
    else
      check_mpi(MPI_Irecv(data + begin, static_cast<int>(length), MPI_BYTE, message.peer, tag, carrier_.comm, &request),
                "MPI_Irecv");
    requests_.push_back(request);
    owners_.push_back({strand, message.is_send ? -1 : length});
    ++running(strand).open_messages;
  }
}

void Executor::finish_round(int strand) {
  Running& state = running(strand);
  const int round = rounds_over_[static_cast<size_t>(strand)]++;
  for (size_t i = state.strand.begin_of_work(round); i < state.strand.round(round).end_of_work; ++i)
    work(state.strand.work()[i]);
  state.is_posted = false;
  if (round + 1 < state.strand.num_rounds()) return;
  is_over_[static_cast<size_t>(strand)] = true;
  ++num_over_;
  state.strand = {};
}

void Executor::work(const schedule::Work& work) {
  const int64_t out_bytes = work.count * (work.out.buffer == Buffer::Partials ? sum_bytes_ : element_bytes_);
  char* const out = at(work.out);
  if (work.is_copy) {
    const char* const from = at(work.first);
    if (out == from) return;
    std::memcpy(out, from, static_cast<size_t>(out_bytes));
    return on_work(2 * out_bytes);
  }
  combine(data_.type, data_.reduction, {at(work.first), work.first.buffer == Buffer::Partials},
          {at(work.second), work.second.buffer == Buffer::Partials}, work.count, data_.scale, out,
          work.out.buffer == Buffer::Partials);
  on_work(3 * out_bytes);
}

// Takes note of messages that are over; true when there were some.
bool Executor::complete(bool is_waiting) {
  if (requests_.empty()) return false;
  const int count = static_cast<int>(requests_.size());
  int num_done = 0;
  indices_.resize(requests_.size());
  statuses_.resize(requests_.size());
  int code = MPI_SUCCESS;
  if (is_waiting) {  // simulators make a loop of tests of MPI_Waitsome
    code = MPI_Waitany(count, requests_.data(), indices_.data(), statuses_.data());
    num_done = 1;
  } else {
    code = MPI_Testsome(count, requests_.data(), &num_done, indices_.data(), statuses_.data());
    if (num_done == MPI_UNDEFINED) num_done = 0;
  }
  std::string failure;
  try {
    if (code != MPI_ERR_IN_STATUS) check_mpi(code, "MPI_Testsome");
  } catch (const CommFailure& error) {
    failure = error.what();
  }
  std::vector<Owner> done;
  for (int i = 0; i < num_done; ++i) {
    const MPI_Status& status = statuses_[static_cast<size_t>(i)];
    const Owner owner = owners_[static_cast<size_t>(indices_[static_cast<size_t>(i)])];
    done.push_back(owner);
    int received = 0;
    try {
      if (code == MPI_ERR_IN_STATUS) check_mpi(status.MPI_ERROR, "a message");
      if (owner.expected_bytes >= 0) check_mpi(MPI_Get_count(&status, MPI_BYTE, &received), "MPI_Get_count");
    } catch (const CommFailure& error) {
      failure = error.what();
      continue;
    }
    if (owner.expected_bytes >= 0 && received != owner.expected_bytes)
      failure = "a message of " + std::to_string(received) + " bytes arrived where " +
                std::to_string(owner.expected_bytes) + " were expected; the ranks disagree about the tensor";
  }
  size_t kept = 0;
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] == MPI_REQUEST_NULL) continue;
    requests_[kept] = requests_[i];
    owners_[kept++] = owners_[i];
  }
  requests_.resize(kept);
  owners_.resize(kept);
  if (has_failed_) return num_done > 0;
  if (!failure.empty()) throw CommFailure(failure);
  for (const Owner& owner : done)
    if (--running(owner.strand).open_messages == 0) finish_round(owner.strand);
  return num_done > 0;
}

}  // namespace mfugaku::comm
