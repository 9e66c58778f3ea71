#include "remote_collectives.h"

#include <algorithm>
#include <utility>

#include "../scratch.h"
#include "remote.h"
#include "streams.h"

namespace mfugaku::comm::shared {
namespace {

// Read from each member at a time: large enough for the kernel's cost per call, small enough to stay in the cache.
constexpr int64_t kBlockBytes = 128 * 1024;

// One chunk without slots, as the offers have shown that all members are here.
class RemoteTransfer : public Transfer {
 protected:
  RemoteTransfer(std::shared_ptr<Channel> channel, std::vector<char*> addresses)
      : Transfer(std::move(channel), Ticket{}, 1, true, kNobody), addresses_(std::move(addresses)) {}

  void read(int member, int64_t offset_bytes, void* to, int64_t num_bytes) const {
    read_remote(channel_->process(member), addresses_[static_cast<size_t>(member)] + offset_bytes, to, num_bytes);
  }

  // The whole tensor of a member, from its first byte on.
  void fetch(int member, char* out, int64_t num_bytes, bool streams) const {
    if (!streams) return read(member, 0, out, num_bytes);
    const auto block = Scratch::acquire(kBlockBytes);
    for (int64_t begin = 0; begin < num_bytes; begin += kBlockBytes) {
      const int64_t length = std::min(kBlockBytes, num_bytes - begin);
      read(member, begin, block.get(), length);
      copy(out + begin, block.get(), length, true);
    }
  }

  // out[i] = the reduction over all members of element begin + i of their tensors; `own` is this member's part.
  void reduce(int64_t begin, int64_t count, const char* own, char* out, DataType type, Reduction reduction,
              bool streams) const {
    const int size = channel_->size();
    const double scale = reduction == Reduction::Average ? 1.0 / size : 1.0;
    const int64_t element_bytes = size_of(type), in_block = kBlockBytes / element_bytes;
    const auto blocks = Scratch::acquire(size * kBlockBytes);
    std::vector<const void*> inputs(static_cast<size_t>(size));
    for (int64_t at = 0; at < count; at += in_block) {
      const int64_t length = std::min(in_block, count - at);
      for (int member = 0; member < size; ++member) {
        char* block = blocks.get() + member * kBlockBytes;
        inputs[static_cast<size_t>(member)] = block;
        if (member == channel_->rank())
          inputs[static_cast<size_t>(member)] = own + at * element_bytes;
        else
          read(member, (begin + at) * element_bytes, block, length * element_bytes);
      }
      reduce_into(type, reduction, inputs, length, scale, out + at * element_bytes, streams);
    }
  }

  std::vector<char*> addresses_;

 private:
  void fill(int64_t, uint64_t) override {}
};

// Every member reduces a share of the vector in place, then reads the others' shares.
class AllReduce : public RemoteTransfer {
 public:
  AllReduce(std::shared_ptr<Channel> channel, std::vector<char*> addresses, void* data, int64_t count, DataType type,
            Reduction reduction)
      : RemoteTransfer(std::move(channel), std::move(addresses)),
        data_(static_cast<char*>(data)),
        count_(count),
        share_(((count + channel_->size() - 1) / channel_->size() + 63) / 64 * 64),
        type_(type),
        reduction_(reduction) {}

 private:
  int64_t begin_of(int member) const { return std::min(count_, member * share_); }
  int64_t length_of(int member) const { return std::min(count_ - begin_of(member), share_); }

  void take(int64_t, uint64_t) override {
    const int self = channel_->rank();
    char* own = data_ + begin_of(self) * size_of(type_);
    reduce(begin_of(self), length_of(self), own, own, type_, reduction_, false);
  }
  void spread(int64_t, uint64_t) override {
    for (int step = 1; step < channel_->size(); ++step) {
      const int member = (channel_->rank() + step) % channel_->size();
      const int64_t offset = begin_of(member) * size_of(type_);
      read(member, offset, data_ + offset, length_of(member) * size_of(type_));
    }
  }

  char* data_;
  int64_t count_, share_;
  DataType type_;
  Reduction reduction_;
};

class ReduceScatter : public RemoteTransfer {
 public:
  ReduceScatter(std::shared_ptr<Channel> channel, std::vector<char*> addresses, int64_t offset, int64_t count,
                void* out, DataType type, Reduction reduction, bool streams)
      : RemoteTransfer(std::move(channel), std::move(addresses)),
        offset_(offset),
        count_(count),
        out_(static_cast<char*>(out)),
        type_(type),
        reduction_(reduction),
        streams_(streams) {}

 private:
  void take(int64_t, uint64_t) override {
    const char* own = addresses_[static_cast<size_t>(channel_->rank())] + offset_ * size_of(type_);
    reduce(offset_, count_, own, out_, type_, reduction_, streams_);
  }

  int64_t offset_, count_;
  char* out_;
  DataType type_;
  Reduction reduction_;
  bool streams_;
};

class AllGather : public RemoteTransfer {
 public:
  AllGather(std::shared_ptr<Channel> channel, std::vector<char*> addresses, std::vector<void*> outs,
            std::vector<int64_t> num_bytes, bool streams)
      : RemoteTransfer(std::move(channel), std::move(addresses)),
        outs_(std::move(outs)),
        num_bytes_(std::move(num_bytes)),
        streams_(streams) {}

 private:
  void take(int64_t, uint64_t) override {
    for (int step = 0; step < channel_->size(); ++step) {
      const int member = (channel_->rank() + step) % channel_->size();
      const auto i = static_cast<size_t>(member);
      if (member != channel_->rank())
        fetch(member, static_cast<char*>(outs_[i]), num_bytes_[i], streams_);
      else if (outs_[i] != addresses_[i])
        copy(outs_[i], addresses_[i], num_bytes_[i], streams_);
    }
  }

  std::vector<void*> outs_;
  std::vector<int64_t> num_bytes_;
  bool streams_;
};

class Broadcast : public RemoteTransfer {
 public:
  Broadcast(std::shared_ptr<Channel> channel, std::vector<char*> addresses, int64_t num_bytes, int root, bool streams)
      : RemoteTransfer(std::move(channel), std::move(addresses)), num_bytes_(num_bytes), root_(root), streams_(streams) {}

 private:
  void take(int64_t, uint64_t) override {
    if (channel_->rank() != root_)
      fetch(root_, addresses_[static_cast<size_t>(channel_->rank())], num_bytes_, streams_);
  }

  int64_t num_bytes_;
  int root_;
  bool streams_;
};

}  // namespace

std::shared_ptr<Transfer> all_reduce_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                              void* data, int64_t count, DataType type, Reduction reduction) {
  return std::make_shared<AllReduce>(std::move(channel), std::move(addresses), data, count, type, reduction);
}

std::shared_ptr<Transfer> reduce_scatter_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                                  int64_t offset, int64_t count, void* out, DataType type,
                                                  Reduction reduction, bool streams) {
  return std::make_shared<ReduceScatter>(std::move(channel), std::move(addresses), offset, count, out, type, reduction,
                                         streams);
}

std::shared_ptr<Transfer> all_gather_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                              std::vector<void*> outs, std::vector<int64_t> num_bytes, bool streams) {
  return std::make_shared<AllGather>(std::move(channel), std::move(addresses), std::move(outs), std::move(num_bytes),
                                     streams);
}

std::shared_ptr<Transfer> broadcast_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                             int64_t num_bytes, int root, bool streams) {
  return std::make_shared<Broadcast>(std::move(channel), std::move(addresses), num_bytes, root, streams);
}

}  // namespace mfugaku::comm::shared
