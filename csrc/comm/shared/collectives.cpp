#include "collectives.h"

#include <algorithm>

#include "../collectives/messages.h"
#include "in_place.h"
#include "remote_copies.h"
#include "streams.h"
#include "transfer.h"

namespace mfugaku::comm::shared {
namespace {

// Every member reduces vectors up to this size all by itself: the members then wait for each other only once.
constexpr int64_t kMaxDirectBytes = 32 * 1024;

// Smaller pieces outside the arenas go faster through the slots than through the kernel.
constexpr int64_t kMinRemoteBytes = 32 * 1024;

// So do broadcasts from this size on, where the root copies beside the others, and those to many, who would all look up
// the same pages.
constexpr int64_t kMinPipelinedBytes = 1024 * 1024;
constexpr int kMaxRemoteMembers = 4;

char* at(void* data, int64_t offset) { return static_cast<char*>(data) + offset; }
const char* at(const void* data, int64_t offset) { return static_cast<const char*>(data) + offset; }

int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

// How many of `total` elements are left from `begin` on, at most `most`.
int64_t left_of(int64_t total, int64_t begin, int64_t most) {
  return std::max<int64_t>(0, std::min(most, total - begin));
}

// What the transfers that reduce have in common.
class Reducing : public Transfer {
 protected:
  Reducing(std::shared_ptr<Channel> channel, const Ticket& ticket, int64_t num_chunks, bool has_spread, DataType type,
           Reduction reduction)
      : Transfer(std::move(channel), ticket, num_chunks, has_spread),
        type_(type),
        reduction_(reduction),
        element_bytes_(size_of(type)),
        scale_(reduction == Reduction::Average ? 1.0 / channel_->size() : 1.0),
        inputs_(static_cast<size_t>(channel_->size())) {}

  // out = the reduction of `own` with the others' slots, from `offset_bytes` on, in the order of the ranks.
  void reduce(uint64_t chunk, int64_t offset_bytes, const void* own, int64_t count, void* out, bool streams = false) {
    for (int member = 0; member < channel_->size(); ++member)
      inputs_[static_cast<size_t>(member)] =
          member == channel_->rank() ? own : channel_->input(member, chunk) + offset_bytes;
    reduce_into(type_, reduction_, inputs_, count, scale_, out, streams);
  }

  DataType type_;
  Reduction reduction_;
  int64_t element_bytes_;
  double scale_;
  std::vector<const void*> inputs_;
};

// Everybody who wants the result reads everything and reduces it.
class DirectAllReduce : public Reducing {
 public:
  DirectAllReduce(std::shared_ptr<Channel> channel, const Ticket& ticket, void* data, int64_t count, DataType type,
                  Reduction reduction, int root)
      : Reducing(std::move(channel), ticket, divide_up(count * size_of(type), kMaxDirectBytes), false, type,
                 reduction),
        data_(data),
        count_(count),
        chunk_(kMaxDirectBytes / element_bytes_),
        root_(root) {}

 private:
  int64_t length_of(int64_t index) const { return left_of(count_, index * chunk_, chunk_); }
  char* part_of(int64_t index) const { return at(data_, index * chunk_ * element_bytes_); }

  void fill(int64_t index, uint64_t chunk) override {
    const int self = channel_->rank();
    if (root_ != self) copy(channel_->input(self, chunk), part_of(index), length_of(index) * element_bytes_);
  }
  void take(int64_t index, uint64_t chunk) override {
    if (root_ == kAll || root_ == channel_->rank()) reduce(chunk, 0, part_of(index), length_of(index), part_of(index));
  }

  void* data_;
  int64_t count_, chunk_;
  int root_;
};

// Every chunk has a section for each member, which that member reduces; the others, or the root, then read it.
class AllReduce : public Reducing {
 public:
  AllReduce(std::shared_ptr<Channel> channel, const Ticket& ticket, void* data, int64_t count, DataType type,
            Reduction reduction, int root)
      : AllReduce(channel, ticket, data, count, type, reduction, root,
                  divide_up(count, most_in_chunk(*channel, type))) {}

 private:
  AllReduce(const std::shared_ptr<Channel>& channel, const Ticket& ticket, void* data, int64_t count, DataType type,
            Reduction reduction, int root, int64_t num_chunks)
      : Reducing(channel, ticket, num_chunks, true, type, reduction), data_(data), count_(count), root_(root) {
    // Chunks and sections of one size, sections in whole units of 256 bytes, which divide those of a slot.
    const int64_t unit = 256 / element_bytes_;
    section_ = divide_up(divide_up(count, num_chunks * channel_->size()), unit) * unit;
  }

  static int64_t most_in_chunk(const Channel& channel, DataType type) {
    return channel.section_bytes() / size_of(type) * channel.size();
  }

  int64_t begin_of(int64_t index, int member) const { return (index * channel_->size() + member) * section_; }
  int64_t length_of(int64_t index, int member) const { return left_of(count_, begin_of(index, member), section_); }
  char* section_of(int64_t index, int member) const { return at(data_, begin_of(index, member) * element_bytes_); }

  void fill(int64_t index, uint64_t chunk) override {
    char* slot = channel_->input(channel_->rank(), chunk);
    for (int member = 0; member < channel_->size(); ++member)
      if (member != channel_->rank())
        copy(slot + member * section_ * element_bytes_, section_of(index, member),
             length_of(index, member) * element_bytes_);
  }
  void take(int64_t index, uint64_t chunk) override {
    const int self = channel_->rank();
    const int64_t length = length_of(index, self);
    if (length == 0) return;
    char* own = section_of(index, self);
    char* result = root_ == kAll || root_ == self ? own : channel_->output(self, chunk);
    reduce(chunk, self * section_ * element_bytes_, own, length, result);
    if (root_ == kAll) copy(channel_->output(self, chunk), own, length * element_bytes_);
  }
  void spread(int64_t index, uint64_t chunk) override {
    if (root_ != kAll && root_ != channel_->rank()) return;
    for (int step = 1; step < channel_->size(); ++step) {
      const int member = (channel_->rank() + step) % channel_->size();
      copy(section_of(index, member), channel_->output(member, chunk), length_of(index, member) * element_bytes_);
    }
  }

  void* data_;
  int64_t count_, section_;
  int root_;
};

class ReduceScatter : public Reducing {
 public:
  ReduceScatter(std::shared_ptr<Channel> channel, const Ticket& ticket, std::vector<const void*> pieces,
                std::vector<int64_t> counts, void* out, DataType type, Reduction reduction, bool streams)
      : Reducing(channel, ticket, 1 + (largest(counts) - 1) / in_section(*channel, type), false, type, reduction),
        section_(in_section(*channel, type)),
        pieces_(std::move(pieces)),
        counts_(std::move(counts)),
        out_(static_cast<char*>(out)),
        streams_(streams) {}

 private:
  static int64_t largest(const std::vector<int64_t>& counts) { return *std::max_element(counts.begin(), counts.end()); }
  static int64_t in_section(const Channel& channel, DataType type) { return channel.section_bytes() / size_of(type); }

  int64_t length_of(int64_t index, int member) const {
    return left_of(counts_[static_cast<size_t>(member)], index * section_, section_);
  }
  const char* part_of(int64_t index, int member) const {
    return at(pieces_[static_cast<size_t>(member)], index * section_ * element_bytes_);
  }

  void fill(int64_t index, uint64_t chunk) override {
    char* slot = channel_->input(channel_->rank(), chunk);
    for (int member = 0; member < channel_->size(); ++member)
      if (member != channel_->rank())
        copy(slot + member * section_ * element_bytes_, part_of(index, member),
             length_of(index, member) * element_bytes_);
  }
  void take(int64_t index, uint64_t chunk) override {
    const int self = channel_->rank();
    const int64_t length = length_of(index, self);
    if (length > 0)
      reduce(chunk, self * section_ * element_bytes_, part_of(index, self), length,
             out_ + index * section_ * element_bytes_, streams_);
  }

  int64_t section_;  // elements
  std::vector<const void*> pieces_;
  std::vector<int64_t> counts_;
  char* out_;
  bool streams_;
};

class AllGather : public Transfer {
 public:
  AllGather(std::shared_ptr<Channel> channel, const Ticket& ticket, const void* data, std::vector<void*> outs,
            std::vector<int64_t> num_bytes, bool streams)
      : Transfer(std::move(channel), ticket,
                 divide_up(*std::max_element(num_bytes.begin(), num_bytes.end()), Channel::kSlotBytes), false),
        data_(data),
        outs_(std::move(outs)),
        num_bytes_(std::move(num_bytes)),
        streams_(streams) {}

 private:
  int64_t length_of(int64_t index, int member) const {
    return left_of(num_bytes_[static_cast<size_t>(member)], index * Channel::kSlotBytes, Channel::kSlotBytes);
  }
  char* place_of(int64_t index, int member) const {
    return at(outs_[static_cast<size_t>(member)], index * Channel::kSlotBytes);
  }

  void fill(int64_t index, uint64_t chunk) override {
    const int self = channel_->rank();
    const char* part = at(data_, index * Channel::kSlotBytes);
    copy(channel_->input(self, chunk), part, length_of(index, self));
    if (place_of(index, self) != part) copy(place_of(index, self), part, length_of(index, self), streams_);
  }
  void take(int64_t index, uint64_t chunk) override {
    for (int step = 1; step < channel_->size(); ++step) {
      const int member = (channel_->rank() + step) % channel_->size();
      copy(place_of(index, member), channel_->input(member, chunk), length_of(index, member), streams_);
    }
  }

  const void* data_;
  std::vector<void*> outs_;
  std::vector<int64_t> num_bytes_;
  bool streams_;
};

class Broadcast : public Transfer {
 public:
  Broadcast(std::shared_ptr<Channel> channel, const Ticket& ticket, void* data, int64_t num_bytes, int root,
            bool streams)
      : Broadcast(std::move(channel), ticket, data, num_bytes, root, streams, chunk_for(num_bytes)) {}

 private:
  Broadcast(std::shared_ptr<Channel> channel, const Ticket& ticket, void* data, int64_t num_bytes, int root,
            bool streams, int64_t chunk_bytes)
      : Transfer(std::move(channel), ticket, divide_up(num_bytes, chunk_bytes), false, root),
        data_(data),
        num_bytes_(num_bytes),
        chunk_bytes_(chunk_bytes),
        root_(root),
        streams_(streams) {}

  // While the root copies the first chunk nobody else copies, and nobody but the others the last one.
  static int64_t chunk_for(int64_t num_bytes) {
    return std::min(std::max(kMinChunkBytes, divide_up(num_bytes, kNumChunks)), Channel::kSlotBytes);
  }

  void fill(int64_t index, uint64_t chunk) override { move(index, channel_->input(root_, chunk), true); }
  void take(int64_t index, uint64_t chunk) override {
    if (channel_->rank() != root_) move(index, channel_->input(root_, chunk), false);
  }
  void move(int64_t index, char* slot, bool is_in) {
    const int64_t offset = index * chunk_bytes_, length = left_of(num_bytes_, offset, chunk_bytes_);
    if (is_in)
      copy(slot, at(data_, offset), length);
    else
      copy(at(data_, offset), slot, length, streams_);
  }

  static constexpr int64_t kMinChunkBytes = 16 * 1024, kNumChunks = 16;

  void* data_;
  int64_t num_bytes_, chunk_bytes_;
  int root_;
  bool streams_;
};

// For the root, or for all.
std::shared_ptr<Poll> reduce_for(int root, std::shared_ptr<Channel> channel, const Ticket& ticket, void* data,
                                 int64_t count, DataType type, Reduction reduction) {
  const int64_t num_bytes = count * size_of(type);
  if (num_bytes * (channel->size() - 1) <= kMaxDirectBytes)
    return std::make_shared<DirectAllReduce>(std::move(channel), ticket, data, count, type, reduction, root);
  const auto through_slots = [=]() -> std::shared_ptr<Transfer> {
    if (root != Transfer::kAll && channel->size() == 2)
      return std::make_shared<DirectAllReduce>(channel, ticket, data, count, type, reduction, root);
    return std::make_shared<AllReduce>(channel, ticket, data, count, type, reduction, root);
  };
  if (num_bytes < kMinOfferedBytes) return through_slots();
  const auto in_place = [=](std::vector<char*> tensors) {
    return all_reduce_in_place(channel, std::move(tensors), count, type, reduction, root);
  };
  return offer(channel, ticket, data, num_bytes, {in_place, through_slots});
}

}  // namespace

std::shared_ptr<Poll> all_reduce(std::shared_ptr<Channel> channel, void* data, int64_t count, DataType type,
                                 Reduction reduction) {
  const Ticket ticket = make_ticket("all_reduce", count * size_of(type), number_of(type, reduction), {});
  return reduce_for(Transfer::kAll, std::move(channel), ticket, data, count, type, reduction);
}

std::shared_ptr<Poll> reduce(std::shared_ptr<Channel> channel, void* data, int64_t count, DataType type,
                             Reduction reduction, int root) {
  const Ticket ticket = make_ticket("reduce", count * size_of(type), number_of(type, reduction), {root});
  return reduce_for(root, std::move(channel), ticket, data, count, type, reduction);
}

std::shared_ptr<Poll> reduce_scatter(std::shared_ptr<Channel> channel, const std::vector<const void*>& pieces,
                                     const std::vector<int64_t>& counts, void* out, DataType type,
                                     Reduction reduction) {
  const int64_t element_bytes = size_of(type), num_bytes = sum_of(counts) * element_bytes;
  const Ticket ticket = make_ticket("reduce_scatter", num_bytes, number_of(type, reduction), counts);
  if (num_bytes < kMinOfferedBytes)
    return std::make_shared<ReduceScatter>(std::move(channel), ticket, pieces, counts, out, type, reduction, false);
  const auto self = static_cast<size_t>(channel->rank());
  const bool streams = out != pieces[self] && exceeds_caches((channel->size() + 1) * num_bytes);
  const auto through_slots = [=] {
    return std::make_shared<ReduceScatter>(channel, ticket, pieces, counts, out, type, reduction, streams);
  };
  std::vector<int64_t> piece_bytes;
  for (const int64_t count : counts) piece_bytes.push_back(count * element_bytes);
  int64_t offset = 0;
  for (size_t i = 0; i < self; ++i) offset += counts[i];
  const auto in_place = [=](const std::vector<char*>& tensors) {
    return reduce_scatter_in_place(channel, tensors, offset, counts[self], out, type, reduction, streams);
  };
  // Pieces that are apart in memory are none of others to find.
  const bool is_block = is_one_block(pieces, piece_bytes);
  return offer(channel, ticket, is_block ? pieces[0] : nullptr, num_bytes, {in_place, through_slots});
}

std::shared_ptr<Poll> all_gather(std::shared_ptr<Channel> channel, const void* data, const std::vector<void*>& outs,
                                 const std::vector<int64_t>& num_bytes) {
  const int64_t total_bytes = sum_of(num_bytes);
  const Ticket ticket = make_ticket("all_gather", total_bytes, 0, num_bytes);
  if (total_bytes < kMinOfferedBytes)
    return std::make_shared<AllGather>(std::move(channel), ticket, data, outs, num_bytes, false);
  const bool streams = exceeds_caches((channel->size() + 1) * total_bytes);
  const auto through_slots = [=] {
    return std::make_shared<AllGather>(channel, ticket, data, outs, num_bytes, streams);
  };
  const auto in_place = [=](std::vector<char*> tensors) {
    return all_gather_in_place(channel, std::move(tensors), outs, num_bytes, streams);
  };
  Ways ways{in_place, through_slots};
  if (*std::max_element(num_bytes.begin(), num_bytes.end()) >= kMinRemoteBytes)
    ways.by_remote_reads = [=](std::vector<char*> addresses) {
      return all_gather_remotely(channel, std::move(addresses), outs, num_bytes, streams);
    };
  return offer(channel, ticket, data, num_bytes[static_cast<size_t>(channel->rank())], std::move(ways));
}

std::shared_ptr<Poll> broadcast(std::shared_ptr<Channel> channel, void* data, int64_t num_bytes, int root) {
  const Ticket ticket = make_ticket("broadcast", num_bytes, root, {});
  if (num_bytes < kMinOfferedBytes)
    return std::make_shared<Broadcast>(std::move(channel), ticket, data, num_bytes, root, false);
  const bool streams = exceeds_caches(channel->size() * num_bytes);
  const auto through_slots = [=] {
    return std::make_shared<Broadcast>(channel, ticket, data, num_bytes, root, streams);
  };
  const auto in_place = [=](std::vector<char*> tensors) {
    return broadcast_in_place(channel, std::move(tensors), num_bytes, root, streams);
  };
  Ways ways{in_place, through_slots};
  if (num_bytes < kMinPipelinedBytes && channel->size() <= kMaxRemoteMembers)
    ways.by_remote_reads = [=](std::vector<char*> addresses) {
      return broadcast_remotely(channel, std::move(addresses), num_bytes, root);
    };
  return offer(channel, ticket, data, num_bytes, std::move(ways));
}

std::shared_ptr<Poll> barrier(std::shared_ptr<Channel> channel) {
  const Ticket ticket = make_ticket("barrier", 0, 0, {});
  return std::make_shared<Meeting>(std::move(channel), ticket);
}

}  // namespace mfugaku::comm::shared
