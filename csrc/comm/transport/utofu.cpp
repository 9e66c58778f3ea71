#include "utofu.h"

#include <algorithm>
#include <utility>

#include "../types.h"

namespace mfugaku::comm {

using Lock = std::lock_guard<std::recursive_mutex>;

UtofuTransport::UtofuTransport(std::shared_ptr<utofu::Mesh> mesh, uint32_t first_channel)
    : mesh_(std::move(mesh)), first_channel_(first_channel), registered_(static_cast<size_t>(mesh_->num_ports())) {}

UtofuTransport::~UtofuTransport() {
  utofu::Device& device = mesh_->device();
  const Lock lock(device.mutex());
  while (has_open()) device.forget(outcome_.messages.back());
  for (size_t port = 0; port < registered_.size(); ++port)
    for (const Registered& registered : registered_[port])
      device.port(static_cast<int>(port)).remove_memory(registered.stadd);
}

void UtofuTransport::declare(const void* memory, int64_t num_bytes) {
  if (num_bytes > 0) declared_.push_back({static_cast<const char*>(memory), num_bytes});
}

utofu_stadd_t UtofuTransport::stadd_of(int port, const char* memory, int64_t num_bytes) {
  std::vector<Registered>& registered = registered_[static_cast<size_t>(port)];
  for (const Registered& known : registered)
    if (known.block.holds(memory, num_bytes))
      return known.stadd + static_cast<utofu_stadd_t>(memory - known.block.begin);
  Block block{memory, num_bytes};
  for (const Block& declared : declared_)
    if (declared.holds(memory, num_bytes)) block = declared;
  const utofu_stadd_t stadd = mesh_->device().port(port).add_memory(const_cast<char*>(block.begin), block.num_bytes);
  registered.push_back({block, stadd});
  return stadd + static_cast<utofu_stadd_t>(memory - block.begin);
}

void UtofuTransport::post(bool is_send, int peer, int channel, const void* memory, int64_t num_bytes, int owner) {
  utofu::Device& device = mesh_->device();
  const Lock lock(device.mutex());
  const uint32_t number = first_channel_ + static_cast<uint32_t>(channel);
  const auto port = static_cast<int>(number % static_cast<uint32_t>(mesh_->num_ports()));
  utofu::Link& link = mesh_->link(port, peer);
  if (!link.failure.empty()) throw CommFailure(link.failure);
  utofu::Message message{};
  message.outcome = &outcome_;
  message.link = &link;
  message.is_send = is_send;
  message.channel = number;
  message.order = orders_[is_send][{peer, number}]++;
  message.owner = owner;
  message.num_bytes = num_bytes;
  message.stadd = stadd_of(port, static_cast<const char*>(memory), num_bytes);
  outcome_.messages.push_back(message);
  utofu::Message& kept = outcome_.messages.back();
  kept.self = std::prev(outcome_.messages.end());
  if (is_send)
    device.begin_send(kept);
  else
    device.begin_receive(kept);
}

int UtofuTransport::post_send(int peer, int channel, const void* memory, int64_t num_bytes, int owner) {
  if (num_bytes == 0) return 0;
  post(true, peer, channel, memory, num_bytes, owner);
  return 1;
}

int UtofuTransport::post_receive(int peer, int channel, void* memory, int64_t num_bytes, int owner) {
  if (num_bytes == 0) return 0;
  post(false, peer, channel, memory, num_bytes, owner);
  return 1;
}

void UtofuTransport::complete(bool is_waiting, std::vector<int>& finished) {
  const Lock lock(mesh_->device().mutex());
  do mesh_->device().progress();
  while (is_waiting && has_open() && outcome_.finished.empty() && outcome_.failure.empty());
  finished.insert(finished.end(), outcome_.finished.begin(), outcome_.finished.end());
  outcome_.finished.clear();
  if (!outcome_.failure.empty()) throw CommFailure(std::exchange(outcome_.failure, {}));
}

}  // namespace mfugaku::comm
