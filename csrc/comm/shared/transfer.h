// A collective over a channel: a state machine that goes as far as the other members let it, and never waits.
//
// Chunks run through up to three steps: `fill` puts this member's data into its slot, `take` reads all members' slots
// and, in collectives of two steps, puts this member's part of the result into its output slot, `spread` reads all
// members' parts. Several chunks are under way at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "../operation.h"
#include "channel.h"

namespace mfugaku::comm {

class Transfer : public Poll {
 public:
  static constexpr int kAll = -1, kNobody = -2;

  bool advance(bool& has_moved) final;
  // Takes its place among the collectives of the channel; otherwise `advance` does, when it is called first.
  void queue(uint64_t turn) { turn_ = turn, is_queued_ = true; }

 protected:
  // `source`: the only member that fills slots, or kAll, or kNobody when `take` waits for no slots.
  Transfer(std::shared_ptr<Channel> channel, const Ticket& ticket, int64_t num_chunks, bool has_spread,
           int source = kAll)
      : channel_(std::move(channel)), ticket_(ticket), num_chunks_(num_chunks), has_spread_(has_spread),
        source_(source) {}

  // `index` counts the chunks of this collective, `chunk` is its number in the channel.
  virtual void fill(int64_t index, uint64_t chunk) = 0;
  virtual void take(int64_t index, uint64_t chunk) = 0;
  virtual void spread(int64_t, uint64_t) {}

  std::shared_ptr<Channel> channel_;

 private:
  bool step();
  void check_tickets() const;
  bool have_posted(uint64_t chunk) const;
  bool have_all(bool (Channel::*has_done)(int, uint64_t) const, uint64_t chunk) const;
  uint64_t number(int64_t index) const { return first_chunk_ + static_cast<uint64_t>(index); }

  Ticket ticket_;
  int64_t num_chunks_;
  bool has_spread_;
  int source_;
  bool is_queued_ = false, is_running_ = false;
  uint64_t turn_ = 0, first_chunk_ = 0;
  int num_advances_ = 0;
  int64_t num_filled_ = 0, num_taken_ = 0, num_spread_ = 0;
};

// One chunk without slots, the second turn of two: the first has shown that all members are here, and publishing shows
// that all are done with each other's tensors.
class SlotlessTransfer : public Transfer {
 protected:
  explicit SlotlessTransfer(std::shared_ptr<Channel> channel)
      : Transfer(std::move(channel), Ticket{}, 1, true, kNobody) {}

 private:
  void fill(int64_t, uint64_t) final {}
};

// Two transfers in successive turns: what the members tell each other in the first decides about the second.
class TwoTurns : public Poll {
 public:
  bool advance(bool& has_moved) final;

 protected:
  TwoTurns(std::shared_ptr<Channel> channel, std::shared_ptr<Transfer> first)
      : channel_(std::move(channel)), first_(std::move(first)) {}

  // The second transfer, alike on all members, once the first is over; null when nothing is left to do.
  virtual std::shared_ptr<Transfer> choose() = 0;

  std::shared_ptr<Channel> channel_;

 private:
  std::shared_ptr<Transfer> first_, second_;
  bool is_queued_ = false, has_chosen_ = false;
  uint64_t second_turn_ = 0;
};

// All members wait for each other; nothing is moved.
class Meeting : public Transfer {
 public:
  Meeting(std::shared_ptr<Channel> channel, const Ticket& ticket) : Transfer(std::move(channel), ticket, 1, false) {}

 private:
  void fill(int64_t, uint64_t) override {}
  void take(int64_t, uint64_t) override {}
};

}  // namespace mfugaku::comm
