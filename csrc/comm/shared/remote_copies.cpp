#include "remote_copies.h"

#include <algorithm>
#include <utility>

#include "../scratch.h"
#include "remote.h"
#include "streams.h"

namespace mfugaku::comm::shared {
namespace {

// Read from each member at a time: large enough for the kernel's cost per call, small enough to stay in the cache.
constexpr int64_t kBlockBytes = 128 * 1024;

class RemoteAllGather : public SlotlessTransfer {
 public:
  RemoteAllGather(std::shared_ptr<Channel> channel, std::vector<char*> addresses, std::vector<void*> outs,
                  std::vector<int64_t> num_bytes, bool streams)
      : SlotlessTransfer(std::move(channel)),
        addresses_(std::move(addresses)),
        outs_(std::move(outs)),
        num_bytes_(std::move(num_bytes)),
        streams_(streams) {}

 private:
  void take(int64_t, uint64_t) override {
    for (int step = 0; step < channel_->size(); ++step) {
      const int member = (channel_->rank() + step) % channel_->size();
      const auto i = static_cast<size_t>(member);
      if (member != channel_->rank())
        fetch(member, static_cast<char*>(outs_[i]), num_bytes_[i]);
      else if (outs_[i] != addresses_[i])
        copy(outs_[i], addresses_[i], num_bytes_[i], streams_);
    }
  }
  void fetch(int member, char* out, int64_t num_bytes) const {
    const int32_t process = channel_->process(member);
    const char* from = addresses_[static_cast<size_t>(member)];
    if (!streams_) return read_remote(process, from, out, num_bytes);
    const auto block = Scratch::acquire(kBlockBytes);
    for (int64_t begin = 0; begin < num_bytes; begin += kBlockBytes) {
      const int64_t length = std::min(kBlockBytes, num_bytes - begin);
      read_remote(process, from + begin, block.get(), length);
      copy(out + begin, block.get(), length, true);
    }
  }

  std::vector<char*> addresses_;
  std::vector<void*> outs_;
  std::vector<int64_t> num_bytes_;
  bool streams_;
};

class RemoteBroadcast : public SlotlessTransfer {
 public:
  RemoteBroadcast(std::shared_ptr<Channel> channel, std::vector<char*> addresses, int64_t num_bytes, int root)
      : SlotlessTransfer(std::move(channel)),
        addresses_(std::move(addresses)),
        num_bytes_(num_bytes),
        root_(root) {}

 private:
  void take(int64_t, uint64_t) override {
    const int self = channel_->rank();
    if (self == root_) return;
    read_remote(channel_->process(root_), addresses_[static_cast<size_t>(root_)],
                addresses_[static_cast<size_t>(self)], num_bytes_);
  }

  std::vector<char*> addresses_;
  int64_t num_bytes_;
  int root_;
};

}  // namespace

std::shared_ptr<Transfer> all_gather_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                              std::vector<void*> outs, std::vector<int64_t> num_bytes, bool streams) {
  return std::make_shared<RemoteAllGather>(std::move(channel), std::move(addresses), std::move(outs),
                                           std::move(num_bytes), streams);
}

std::shared_ptr<Transfer> broadcast_remotely(std::shared_ptr<Channel> channel, std::vector<char*> addresses,
                                             int64_t num_bytes, int root) {
  return std::make_shared<RemoteBroadcast>(std::move(channel), std::move(addresses), num_bytes, root);
}

}  // namespace mfugaku::comm::shared
