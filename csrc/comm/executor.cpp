#include "executor.h"

#include <cstring>
#include <utility>

#include "combine.h"
#include "scratch.h"

namespace mfugaku::comm {

using schedule::Buffer;

Executor::Executor(schedule::Schedule schedule, std::unique_ptr<Transport> transport, const Data& data)
    : schedule_(std::move(schedule)),
      transport_(std::move(transport)),
      data_(data),
      element_bytes_(size_of(data.type)),
      sum_bytes_(size_of(sum_type_of(data.type))),
      running_(static_cast<size_t>(schedule_.window)),
      rounds_over_(static_cast<size_t>(schedule_.num_strands)),
      is_over_(rounds_over_.size()) {
  const int64_t num_element_bytes = schedule_.num_scratch_elements * element_bytes_;
  const int64_t num_sum_bytes = schedule_.num_scratch_partials * sum_bytes_;
  if (num_element_bytes > 0) elements_ = Scratch::acquire(num_element_bytes);
  if (num_sum_bytes > 0) sums_ = Scratch::acquire(num_sum_bytes);
  transport_->declare(data.input, data.num_input * element_bytes_);
  transport_->declare(data.output, data.num_output * element_bytes_);
  transport_->declare(elements_.get(), num_element_bytes);
  transport_->declare(sums_.get(), num_sum_bytes);
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
  if (has_failed_) return is_rid_of_messages();
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
    while (num_begun_ < schedule_.num_strands && may_begin_strand(num_begun_)) {
      const int strand = num_begun_++;
      running(strand) = Running{schedule_.build_strand(strand), 0, false, nullptr};
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

bool Executor::may_begin_strand(int strand) const {
  const schedule::Phase phase = schedule_.phase_of(strand);
  const int before = strand - phase.window;
  return before < phase.first_strand ? num_over_ >= phase.first_strand : is_strand_over(before);
}

bool Executor::may_begin_round(int strand) {
  const schedule::Phase phase = schedule_.phase_of(strand);
  const int before = strand - phase.stride;
  const int after = running(strand).strand.round(rounds_over_[static_cast<size_t>(strand)]).after;
  return after == 0 || before < phase.first_strand || is_strand_over(before) ||
         rounds_over_[static_cast<size_t>(before)] >= after;
}

void Executor::post(int strand) {
  Running& state = running(strand);
  const int round = rounds_over_[static_cast<size_t>(strand)];
  state.is_posted = true;
  const size_t begin = state.strand.begin_of_messages(round), end = state.strand.round(round).end_of_messages;
  int64_t count = 0;
  for (size_t i = begin; i < end; ++i) count += state.strand.messages()[i].count;
  if (data_.wire.is_narrow() && count > 0) state.narrow = Scratch::acquire(count * size_of(data_.wire.type));
  char* narrow = state.narrow.get();
  for (size_t i = begin; i < end; ++i) {
    post(strand, state.strand.messages()[i], narrow);
    if (narrow != nullptr) narrow += state.strand.messages()[i].count * size_of(data_.wire.type);
  }
  if (state.open_parts == 0) finish_round(strand);
}

void Executor::post(int strand, const schedule::Message& message, char* narrow) {
  int64_t num_bytes = message.count * (message.place.buffer == Buffer::Partials ? sum_bytes_ : element_bytes_);
  char* data = at(message.place);
  if (narrow != nullptr) {
    if (message.is_send) {
      data_.wire.pack(data, message.count, narrow);
      on_work(num_bytes + message.count * size_of(data_.wire.type));
    }
    data = narrow;
    num_bytes = message.count * size_of(data_.wire.type);
  }
  running(strand).open_parts += message.is_send
                                    ? transport_->post_send(message.peer, strand, data, num_bytes, strand)
                                    : transport_->post_receive(message.peer, strand, data, num_bytes, strand);
}

void Executor::widen_received(Running& state, int round) {
  const char* narrow = state.narrow.get();
  for (size_t i = state.strand.begin_of_messages(round); i < state.strand.round(round).end_of_messages; ++i) {
    const schedule::Message& message = state.strand.messages()[i];
    if (!message.is_send) {
      data_.wire.unpack(narrow, message.count, at(message.place));
      on_work(message.count * (element_bytes_ + size_of(data_.wire.type)));
    }
    narrow += message.count * size_of(data_.wire.type);
  }
  state.narrow.reset();
}

void Executor::finish_round(int strand) {
  Running& state = running(strand);
  const int round = rounds_over_[static_cast<size_t>(strand)]++;
  if (state.narrow) widen_received(state, round);
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
  if (!data_.wire.rounds_results || work.out.buffer != Buffer::Output) return;
  data_.wire.round(out, work.count);
  on_work(2 * out_bytes);
}

// Takes note of messages that are over; true when there were some.
bool Executor::complete(bool is_waiting) {
  finished_.clear();
  transport_->complete(is_waiting, finished_);
  for (const int strand : finished_)
    if (--running(strand).open_parts == 0) finish_round(strand);
  return !finished_.empty();
}

// After an error: strands go no further.
bool Executor::is_rid_of_messages() {
  try {
    finished_.clear();
    transport_->complete(false, finished_);
  } catch (const CommFailure&) {  // the first one has been told
  }
  return !transport_->has_open();
}

}  // namespace mfugaku::comm
