#include "transfer.h"

#include <string>

namespace mfugaku::comm {

bool Transfer::advance(bool& has_moved) {
  // Waits this often between two looks at all members.
  constexpr int kAdvancesBetweenLooks = 64;
  if (++num_advances_ % kAdvancesBetweenLooks == 0) channel_->look_for_failures();
  if (!channel_->failure().empty())
    throw CommFailure("an earlier collective of this group failed: " + channel_->failure());
  if (!is_queued_) queue(channel_->take_turn());
  if (!is_running_) {
    if (!channel_->has_turn(turn_)) return false;
    first_chunk_ = channel_->next_chunk();
    is_running_ = true;
  }
  try {
    while (step()) has_moved = true;
  } catch (const std::exception& error) {
    channel_->break_off(error.what());
    throw;
  }
  if ((has_spread_ ? num_spread_ : num_taken_) < num_chunks_) return false;
  channel_->end_turn(number(num_chunks_));
  return true;
}

// One step of each kind, the oldest chunk first: what was read stays in the cache until it is written.
bool Transfer::step() {
  bool has_moved = false;
  if (num_spread_ < num_taken_ && has_spread_ && have_all(&Channel::has_published, number(num_spread_))) {
    spread(num_spread_, number(num_spread_));
    channel_->finish(number(num_spread_++));
    has_moved = true;
  }
  if (num_taken_ < num_filled_ && have_posted(number(num_taken_))) {
    if (num_taken_ == 0 && source_ != kNobody) check_tickets();
    take(num_taken_, number(num_taken_));
    if (has_spread_)
      channel_->publish(number(num_taken_));
    else
      channel_->finish(number(num_taken_));
    ++num_taken_;
    has_moved = true;
  }
  if (num_filled_ < num_chunks_ && channel_->is_free(number(num_filled_))) {
    const uint64_t chunk = number(num_filled_);
    if (source_ == kAll || source_ == channel_->rank()) {
      fill(num_filled_, chunk);
      if (num_filled_ == 0) channel_->set_ticket(chunk, ticket_);
      channel_->post(chunk);
    }
    ++num_filled_;
    has_moved = true;
  }
  return has_moved;
}

bool TwoTurns::advance(bool& has_moved) {
  if (!is_queued_) {
    first_->queue(channel_->take_turn());
    second_turn_ = channel_->take_turn();
    is_queued_ = true;
  }
  if (!has_chosen_) {
    if (!first_->advance(has_moved)) return false;
    has_chosen_ = true;
    second_ = choose();
    if (second_)
      second_->queue(second_turn_);
    else
      channel_->end_turn(channel_->next_chunk());
  }
  return !second_ || second_->advance(has_moved);
}

bool Transfer::have_posted(uint64_t chunk) const {
  if (source_ == kAll) return have_all(&Channel::has_posted, chunk);
  return source_ == kNobody || channel_->has_posted(source_, chunk);
}

bool Transfer::have_all(bool (Channel::*has_done)(int, uint64_t) const, uint64_t chunk) const {
  for (int member = 0; member < channel_->size(); ++member)
    if (!(channel_.get()->*has_done)(member, chunk)) return false;
  return true;
}

void Transfer::check_tickets() const {
  for (int member = 0; member < channel_->size(); ++member) {
    if (source_ >= 0 && member != source_) continue;
    const std::string reason = describe_difference(ticket_, member, channel_->ticket(member, first_chunk_));
    if (reason.empty()) continue;
    channel_->break_off(reason);
    throw CommFailure(reason + "; all members must call the same collectives with the same arguments");
  }
}

}  // namespace mfugaku::comm
