#include "exchange.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "arena.h"
#include "remote.h"
#include "streams.h"
#include "transfer.h"

namespace mfugaku::comm::shared {
namespace {

// What a member has for all others together, if it is to pass with the sizes.
constexpr int64_t kMaxShortBytes = 64 * 1024;

// What the members told each other, and what is to be moved.
struct Exchange {
  // One piece, as its owner describes it.
  struct Piece {
    int64_t num_bytes;
    int64_t offset;       // into its arena, or -1
    const char* address;  // in its process
  };

  std::vector<Parcel> parcels;
  bool is_short = false;         // this member's pieces have gone with the sizes
  std::vector<Piece> for_us;     // by member, if there are any that have not come with the sizes
  int64_t longest = 0;           // of all pieces that have not come yet, between whatever members
  int64_t num_bytes_left = 0;    // in them all
  bool are_all_in_arenas = true;
};

// The first turn: sizes and places of all pieces, and the pieces themselves of members that have few bytes.
class Introduction : public Transfer {
 public:
  Introduction(std::shared_ptr<Channel> channel, const Ticket& ticket, std::shared_ptr<Exchange> exchange)
      : Transfer(std::move(channel), ticket, 1, false), ticket_(ticket), exchange_(std::move(exchange)) {}

 private:
  using Piece = Exchange::Piece;
  struct Head {
    int64_t is_short;
  };

  int size() const { return channel_->size(); }
  char* pieces_at(char* slot) const { return slot + sizeof(Head); }
  char* bytes_at(char* slot) const { return pieces_at(slot) + size() * static_cast<int64_t>(sizeof(Piece)); }
  Piece piece_of(int member, int to, uint64_t chunk) const {
    Piece piece;
    std::memcpy(&piece, pieces_at(channel_->input(member, chunk)) + to * static_cast<int64_t>(sizeof(Piece)), sizeof piece);
    return piece;
  }

  void fill(int64_t, uint64_t chunk) override {
    const int self = channel_->rank();
    char* slot = channel_->input(self, chunk);
    int64_t total = 0;
    for (int to = 0; to < size(); ++to)
      if (to != self) total += exchange_->parcels[static_cast<size_t>(to)].piece_bytes;
    const Head head{total <= kMaxShortBytes};
    std::memcpy(slot, &head, sizeof head);
    char* place = bytes_at(slot);
    for (int to = 0; to < size(); ++to) {
      const Parcel& parcel = exchange_->parcels[static_cast<size_t>(to)];
      Piece piece{to == self ? 0 : parcel.piece_bytes, -1, nullptr};
      if (head.is_short) {
        copy(place, parcel.piece, piece.num_bytes);
        place += piece.num_bytes;
      } else if (piece.num_bytes > 0) {
        piece.offset = Arena::instance().offset_of(parcel.piece, piece.num_bytes);
        piece.address = static_cast<const char*>(parcel.piece);
      }
      std::memcpy(pieces_at(slot) + to * static_cast<int64_t>(sizeof(Piece)), &piece, sizeof piece);
    }
    exchange_->is_short = head.is_short;
  }

  void take(int64_t, uint64_t chunk) override {
    for (int member = 0; member < size(); ++member) take_from(member, chunk);
  }

  void take_from(int member, uint64_t chunk) {
    const int self = channel_->rank();
    const auto from = static_cast<size_t>(member);
    Head head;
    std::memcpy(&head, channel_->input(member, chunk), sizeof head);
    const char* place = bytes_at(channel_->input(member, chunk));
    for (int to = 0; to < size(); ++to) {
      const Piece piece = piece_of(member, to, chunk);
      if (to == self && member != self) {
        const int64_t expected = exchange_->parcels[from].out_bytes;
        if (piece.num_bytes != expected)
          throw CommFailure(std::string(ticket_.name) + ": rank " + std::to_string(member) + " of the group has " +
                            std::to_string(piece.num_bytes) + " bytes for rank " + std::to_string(self) +
                            ", which expects " + std::to_string(expected));
        if (head.is_short)
          copy(exchange_->parcels[from].out, place, piece.num_bytes);
        else
          set_for_us(from, piece);
      }
      place += piece.num_bytes;
      if (head.is_short || piece.num_bytes == 0) continue;
      exchange_->longest = std::max(exchange_->longest, piece.num_bytes);
      exchange_->num_bytes_left += piece.num_bytes;
      exchange_->are_all_in_arenas &= piece.offset >= 0;
    }
  }

  void set_for_us(size_t from, const Piece& piece) {
    if (exchange_->for_us.empty()) exchange_->for_us.resize(static_cast<size_t>(size()), Piece{0, -1, nullptr});
    exchange_->for_us[from] = piece;
  }

  Ticket ticket_;
  std::shared_ptr<Exchange> exchange_;
};

// The second turn where members can read each other's memory: everybody fetches what is for it.
class Fetching : public SlotlessTransfer {
 public:
  Fetching(std::shared_ptr<Channel> channel, std::shared_ptr<Exchange> exchange)
      : SlotlessTransfer(std::move(channel)), exchange_(std::move(exchange)) {}

 private:
  void take(int64_t, uint64_t) override {
    if (exchange_->for_us.empty()) return;
    const bool streams = exceeds_caches(2 * exchange_->num_bytes_left);
    for (int step = 1; step < channel_->size(); ++step) {
      const int member = (channel_->rank() + step) % channel_->size();
      const auto i = static_cast<size_t>(member);
      const Exchange::Piece& piece = exchange_->for_us[i];
      if (piece.num_bytes == 0) continue;
      if (exchange_->are_all_in_arenas && channel_->has_arenas())
        copy(exchange_->parcels[i].out, channel_->arena(member) + piece.offset, piece.num_bytes, streams);
      else
        read_remote(channel_->process(member), piece.address, exchange_->parcels[i].out, piece.num_bytes);
    }
  }

  std::shared_ptr<Exchange> exchange_;
};

// The second turn elsewhere: slots have a section for each member.
class Passing : public Transfer {
 public:
  Passing(std::shared_ptr<Channel> channel, std::shared_ptr<Exchange> exchange)
      : Transfer(channel, Ticket{}, 1 + (exchange->longest - 1) / channel->section_bytes(), false),
        section_(channel->section_bytes()),
        exchange_(std::move(exchange)) {}

 private:
  int64_t length_of(int64_t num_bytes, int64_t index) const {
    return std::max<int64_t>(0, std::min(section_, num_bytes - index * section_));
  }
  void fill(int64_t index, uint64_t chunk) override {
    if (exchange_->is_short) return;
    for (int member = 0; member < channel_->size(); ++member) {
      const Parcel& parcel = exchange_->parcels[static_cast<size_t>(member)];
      const int64_t length = length_of(parcel.piece_bytes, index);
      if (length > 0 && member != channel_->rank())
        copy(channel_->input(channel_->rank(), chunk) + member * section_,
             static_cast<const char*>(parcel.piece) + index * section_, length);
    }
  }
  void take(int64_t index, uint64_t chunk) override {
    if (exchange_->for_us.empty()) return;
    for (int step = 1; step < channel_->size(); ++step) {
      const int member = (channel_->rank() + step) % channel_->size();
      const auto i = static_cast<size_t>(member);
      const int64_t length = length_of(exchange_->for_us[i].num_bytes, index);
      if (length > 0)
        copy(static_cast<char*>(exchange_->parcels[i].out) + index * section_,
             channel_->input(member, chunk) + channel_->rank() * section_, length);
    }
  }

  int64_t section_;
  std::shared_ptr<Exchange> exchange_;
};

class Exchanging : public TwoTurns {
 public:
  Exchanging(const std::shared_ptr<Channel>& channel, const Ticket& ticket, std::shared_ptr<Exchange> exchange)
      : TwoTurns(channel, std::make_shared<Introduction>(channel, ticket, exchange)), exchange_(std::move(exchange)) {}

  const char* way() const override { return way_; }

 private:
  std::shared_ptr<Transfer> choose() override {
    if (exchange_->longest == 0) return nullptr;
    const bool in_place = exchange_->are_all_in_arenas && channel_->has_arenas();
    way_ = in_place ? "arena" : channel_->can_read_remotely() ? "remote reads" : "slots";
    if (in_place || channel_->can_read_remotely()) return std::make_shared<Fetching>(channel_, exchange_);
    return std::make_shared<Passing>(channel_, exchange_);
  }

  std::shared_ptr<Exchange> exchange_;
  const char* way_ = nullptr;
};

}  // namespace

std::shared_ptr<Poll> exchange(std::shared_ptr<Channel> channel, const Ticket& ticket, std::vector<Parcel> parcels) {
  auto content = std::make_shared<Exchange>();
  content->parcels = std::move(parcels);
  return std::make_shared<Exchanging>(channel, ticket, std::move(content));
}

}  // namespace mfugaku::comm::shared
