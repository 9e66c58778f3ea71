// Messages of an operation over the Tofu interconnect, by one-sided communication of uTofu: not yet run on the machine.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "transport.h"
#include "utofu_links.h"

namespace mfugaku::comm {

// Channels are spread over the network interfaces. Memory is registered with an interface when the first message on it
// comes, and as long as the operation lives: a registration that outlives a tensor would let others write to memory
// that by then is somebody else's.
class UtofuTransport final : public Transport {
 public:
  // Channel i is number first_channel + i, of Mesh::take_channels.
  UtofuTransport(std::shared_ptr<utofu::Mesh> mesh, uint32_t first_channel);
  ~UtofuTransport() override;

  void declare(const void* memory, int64_t num_bytes) override;
  int post_send(int peer, int channel, const void* memory, int64_t num_bytes, int owner) override;
  int post_receive(int peer, int channel, void* memory, int64_t num_bytes, int owner) override;
  void complete(bool is_waiting, std::vector<int>& finished) override;
  bool has_open() const override { return !outcome_.messages.empty(); }

 private:
  struct Block {
    const char* begin;
    int64_t num_bytes;
    bool holds(const char* memory, int64_t length) const {
      return memory >= begin && memory + length <= begin + num_bytes;
    }
  };
  struct Registered {
    Block block;
    utofu_stadd_t stadd;
  };
  void post(bool is_send, int peer, int channel, const void* memory, int64_t num_bytes, int owner);
  utofu_stadd_t stadd_of(int port, const char* memory, int64_t num_bytes);

  std::shared_ptr<utofu::Mesh> mesh_;
  uint32_t first_channel_;
  std::vector<Block> declared_;
  std::vector<std::vector<Registered>> registered_;           // by port
  std::map<std::pair<int, uint32_t>, uint32_t> orders_[2];  // of the next receive and send, by peer and channel
  utofu::Outcome outcome_;
};

}  // namespace mfugaku::comm
