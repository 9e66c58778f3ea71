#include "in_place.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "../reduce.h"
#include "arena.h"
#include "streams.h"

namespace mfugaku::comm::shared {
namespace {

// Reduced and written to all members before it leaves the nearest cache.
constexpr int64_t kBlockBytes = 16 * 1024;

bool may_read_remotely(const Channel& channel, const Ways& ways) {
  return ways.by_remote_reads && channel.can_read_remotely();
}

// Everybody's word where its tensor lies.
class Offer : public Transfer {
 public:
  Offer(std::shared_ptr<Channel> channel, const Ticket& ticket, const void* data, int64_t num_bytes)
      : Transfer(std::move(channel), ticket, 1, false),
        place_{Arena::instance().offset_of(data, num_bytes), static_cast<char*>(const_cast<void*>(data))} {}

  // The tensors in arenas and the addresses in their owners' memory; empty when some tensor has none. To be asked when
  // the offers are over.
  const std::vector<char*>& tensors() const { return tensors_; }
  const std::vector<char*>& addresses() const { return addresses_; }

 private:
  struct Place {
    int64_t offset;  // into the arena, or -1
    char* address;   // or null
  };

  void fill(int64_t, uint64_t chunk) override {
    std::memcpy(channel_->input(channel_->rank(), chunk), &place_, sizeof(place_));
  }
  void take(int64_t, uint64_t chunk) override {
    for (int member = 0; member < channel_->size(); ++member) {
      Place place{};
      std::memcpy(&place, channel_->input(member, chunk), sizeof(place));
      if (place.offset >= 0 && channel_->has_arenas()) tensors_.push_back(channel_->arena(member) + place.offset);
      if (place.address != nullptr) addresses_.push_back(place.address);
    }
    const auto size = static_cast<size_t>(channel_->size());
    if (tensors_.size() < size) tensors_.clear();
    if (addresses_.size() < size) addresses_.clear();
  }

  Place place_;
  std::vector<char*> tensors_, addresses_;
};

// The offers, then what follows from them.
class Offered : public TwoTurns {
 public:
  Offered(const std::shared_ptr<Channel>& channel, std::shared_ptr<Offer> offer, Ways ways)
      : TwoTurns(channel, offer), offer_(std::move(offer)), ways_(std::move(ways)) {}

  const char* way() const override { return way_; }

 private:
  std::shared_ptr<Transfer> choose() override {
    if (!offer_->tensors().empty()) {
      way_ = "arena";
      return ways_.in_place(offer_->tensors());
    }
    if (!offer_->addresses().empty() && may_read_remotely(*channel_, ways_)) {
      way_ = "remote reads";
      return ways_.by_remote_reads(offer_->addresses());
    }
    way_ = "slots";
    return ways_.through_slots();
  }

  std::shared_ptr<Offer> offer_;
  Ways ways_;
  const char* way_ = nullptr;
};

class AllReduce : public SlotlessTransfer {
 public:
  AllReduce(std::shared_ptr<Channel> channel, std::vector<char*> tensors, int64_t count, DataType type,
            Reduction reduction, int root)
      : SlotlessTransfer(std::move(channel)),
        tensors_(std::move(tensors)),
        count_(count),
        type_(type),
        reduction_(reduction),
        root_(root) {}

 private:
  void take(int64_t, uint64_t) override {
    const int size = channel_->size(), self = channel_->rank();
    const double scale = reduction_ == Reduction::Average ? 1.0 / size : 1.0;
    const int64_t element_bytes = size_of(type_), in_block = kBlockBytes / element_bytes;
    const int64_t share = ((count_ + size - 1) / size + 63) / 64 * 64;
    const int64_t begin = std::min(count_, self * share), end = std::min(count_, begin + share);
    std::vector<const void*> inputs(tensors_.size());
    for (int64_t at = begin; at < end; at += in_block) {
      const int64_t length = std::min(in_block, end - at), offset = at * element_bytes;
      for (size_t member = 0; member < tensors_.size(); ++member) inputs[member] = tensors_[member] + offset;
      char* first = tensors_[static_cast<size_t>(root_ == kAll ? self : root_)] + offset;
      reduce_pieces(type_, reduction_, inputs, length, scale, first);
      for (int step = 1; root_ == kAll && step < size; ++step)
        copy(tensors_[static_cast<size_t>((self + step) % size)] + offset, first, length * element_bytes);
    }
  }

  std::vector<char*> tensors_;
  int64_t count_;
  DataType type_;
  Reduction reduction_;
  int root_;
};

class ReduceScatter : public SlotlessTransfer {
 public:
  ReduceScatter(std::shared_ptr<Channel> channel, const std::vector<char*>& tensors, int64_t offset, int64_t count,
                void* out, DataType type, Reduction reduction, bool streams)
      : SlotlessTransfer(std::move(channel)),
        count_(count),
        out_(out),
        type_(type),
        reduction_(reduction),
        streams_(streams) {
    for (const char* tensor : tensors) pieces_.push_back(tensor + offset * size_of(type));
  }

 private:
  void take(int64_t, uint64_t) override {
    if (count_ == 0) return;
    const double scale = reduction_ == Reduction::Average ? 1.0 / channel_->size() : 1.0;
    reduce_into(type_, reduction_, pieces_, count_, scale, out_, streams_);
  }

  std::vector<const void*> pieces_;
  int64_t count_;
  void* out_;
  DataType type_;
  Reduction reduction_;
  bool streams_;
};

class AllGather : public SlotlessTransfer {
 public:
  AllGather(std::shared_ptr<Channel> channel, std::vector<char*> tensors, std::vector<void*> outs,
            std::vector<int64_t> num_bytes, bool streams)
      : SlotlessTransfer(std::move(channel)),
        tensors_(std::move(tensors)),
        outs_(std::move(outs)),
        num_bytes_(std::move(num_bytes)),
        streams_(streams) {}

 private:
  void take(int64_t, uint64_t) override {
    for (int step = 0; step < channel_->size(); ++step) {
      const auto member = static_cast<size_t>((channel_->rank() + step) % channel_->size());
      if (outs_[member] != tensors_[member]) copy(outs_[member], tensors_[member], num_bytes_[member], streams_);
    }
  }

  std::vector<char*> tensors_;
  std::vector<void*> outs_;
  std::vector<int64_t> num_bytes_;
  bool streams_;
};

// The root would be idle: it writes an equal share of all that is to be copied, the end of every other tensor.
class Broadcast : public SlotlessTransfer {
 public:
  Broadcast(std::shared_ptr<Channel> channel, std::vector<char*> tensors, int64_t num_bytes, int root, bool streams)
      : SlotlessTransfer(std::move(channel)),
        tensors_(std::move(tensors)),
        num_bytes_(num_bytes),
        root_(root),
        streams_(streams) {}

 private:
  void take(int64_t, uint64_t) override {
    const int64_t by_members = num_bytes_ - num_bytes_ / channel_->size() / 256 * 256;
    const auto bring = [&](int member, int64_t begin, int64_t end) {
      copy(tensors_[static_cast<size_t>(member)] + begin, tensors_[static_cast<size_t>(root_)] + begin, end - begin,
           streams_);
    };
    if (channel_->rank() != root_) return bring(channel_->rank(), 0, by_members);
    for (int member = 0; member < channel_->size(); ++member)
      if (member != root_) bring(member, by_members, num_bytes_);
  }

  std::vector<char*> tensors_;
  int64_t num_bytes_;
  int root_;
  bool streams_;
};

}  // namespace

std::shared_ptr<Poll> offer(std::shared_ptr<Channel> channel, const Ticket& ticket, const void* data,
                            int64_t num_bytes, Ways ways) {
  if (!channel->has_arenas() && !may_read_remotely(*channel, ways)) return ways.through_slots();
  return std::make_shared<Offered>(channel, std::make_shared<Offer>(channel, ticket, data, num_bytes), std::move(ways));
}

std::shared_ptr<Transfer> all_reduce_in_place(std::shared_ptr<Channel> channel, std::vector<char*> tensors,
                                              int64_t count, DataType type, Reduction reduction, int root) {
  return std::make_shared<AllReduce>(std::move(channel), std::move(tensors), count, type, reduction, root);
}

std::shared_ptr<Transfer> reduce_scatter_in_place(std::shared_ptr<Channel> channel, const std::vector<char*>& tensors,
                                                  int64_t offset, int64_t count, void* out, DataType type,
                                                  Reduction reduction, bool streams) {
  return std::make_shared<ReduceScatter>(std::move(channel), tensors, offset, count, out, type, reduction, streams);
}

std::shared_ptr<Transfer> all_gather_in_place(std::shared_ptr<Channel> channel, std::vector<char*> tensors,
                                              std::vector<void*> outs, std::vector<int64_t> num_bytes, bool streams) {
  return std::make_shared<AllGather>(std::move(channel), std::move(tensors), std::move(outs), std::move(num_bytes),
                                     streams);
}

std::shared_ptr<Transfer> broadcast_in_place(std::shared_ptr<Channel> channel, std::vector<char*> tensors,
                                             int64_t num_bytes, int root, bool streams) {
  return std::make_shared<Broadcast>(std::move(channel), std::move(tensors), num_bytes, root, streams);
}

}  // namespace mfugaku::comm::shared
