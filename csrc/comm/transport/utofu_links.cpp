#include "utofu_links.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <utility>

#include "../types.h"

namespace mfugaku::comm::utofu {

Device::Device(const DeviceOptions& options) : options_(options) {
  utofu_tni_id_t* tnis = nullptr;
  size_t num_tnis = 0;
  check_utofu(utofu_get_onesided_tnis(&tnis, &num_tnis), "utofu_get_onesided_tnis");
  const std::unique_ptr<utofu_tni_id_t, decltype(&std::free)> owner(tnis, &std::free);
  if (num_tnis == 0) throw CommFailure("uTofu has no network interface for this process");
  for (size_t i = 0; i < std::min(num_tnis, static_cast<size_t>(options.max_ports)); ++i) {
    ports_.emplace_back();
    ports_.back().port = std::make_unique<Port>(tnis[i]);
    options_.max_put_bytes = std::min(options_.max_put_bytes, ports_.back().port->max_put_bytes());
  }
}

int64_t Device::max_put_bytes() const { return options_.max_put_bytes; }

int Device::reserve_window(int num_peers) {
  const int64_t room = options_.queue_entries - options_.queue_entries / 8 - reserved_entries_;  // the rest for errors
  const auto window = static_cast<int>(std::min<int64_t>(options_.max_window, room / std::max(1, num_peers) - 1));
  if (window < 1)
    throw CommFailure("a receive queue of uTofu has " + std::to_string(options_.queue_entries) + " entries, of which " +
                      std::to_string(reserved_entries_) + " belong to other groups; " + std::to_string(num_peers) +
                      " more peers could make it overflow, which would end the job. Set UTOFU_NUM_MRQ_ENTRIES to 512Ki "
                      "or 2Mi, or leave this transport. [MFUGAKU_COMM_TRANSPORT]");
  reserved_entries_ += entries_for(num_peers, window);
  return window;
}

void Device::add_mesh(Mesh* mesh) {
  meshes_.push_back(mesh);
  for (int i = 0; i < num_ports(); ++i) {
    const utofu_stadd_t begin = mesh->stadds_[static_cast<size_t>(i)];
    ports_[static_cast<size_t>(i)].regions[begin] = {begin + static_cast<utofu_stadd_t>(mesh->mailbox_bytes()), mesh,
                                                     nullptr};
  }
}

void Device::remove_mesh(Mesh* mesh) {
  meshes_.erase(std::find(meshes_.begin(), meshes_.end(), mesh));
  for (size_t i = 0; i < ports_.size(); ++i) {
    ports_[i].regions[mesh->stadds_[i]].mesh = nullptr;
    old_mailboxes_.push_back(mesh->mailboxes_[i]);
  }
  for (const auto& link : mesh->links_) {
    if (!link) continue;
    link->port->forget(link.get());
    Side& side = side_of(*link);
    side.stalled.erase(std::remove(side.stalled.begin(), side.stalled.end(), link.get()), side.stalled.end());
    side.telling.erase({link->vcq, link->told_there + sizeof(uint64_t)});
  }
}

Device::Side& Device::side_of(const Link& link) {
  return *std::find_if(ports_.begin(), ports_.end(), [&](const Side& side) { return side.port.get() == link.port; });
}

void Device::progress() {
  for (Side& side : ports_) {
    side.port->poll_sent([this](Put& put, int code) { on_sent(put, code); });
    side.port->poll_notices([&](const utofu_mrq_notice& notice, int code) { on_notice(side, notice, code); });
    side.stalled.erase(std::remove_if(side.stalled.begin(), side.stalled.end(), [this](Link* l) { return pump(*l); }),
                       side.stalled.end());
    side.port->flush([this](Put& put, int code) { on_sent(put, code); });
  }
}

void Device::enqueue(Link& link, Put put) {
  link.waiting.push_back(put);
  Side& side = side_of(link);
  if (!pump(link) && std::find(side.stalled.begin(), side.stalled.end(), &link) == side.stalled.end())
    side.stalled.push_back(&link);
}

// Hands over what credit there is for; true when nothing is left.
bool Device::pump(Link& link) {
  const auto window = static_cast<uint64_t>(link.mesh->window());
  const uint64_t told = __atomic_load_n(link.told_here, __ATOMIC_ACQUIRE);  // written by the network
  while (!link.waiting.empty() && link.num_sent - told < window) {
    Put put = link.waiting.front();
    link.waiting.pop_front();
    put.sequence = static_cast<uint8_t>(link.num_sent);
    if (put.kind == Put::Mail) put.to = link.letters_there + link.num_sent % window * sizeof(Letter);
    ++link.num_sent;
    link.port->post(put);
  }
  return link.waiting.empty();
}

void Device::begin_send(Message& message) {
  Link& link = *message.link;
  const auto offer = link.offers.find(message.key());
  if (offer == link.offers.end()) {
    link.sends[message.key()] = &message;
    return;
  }
  const Letter letter = offer->second;
  link.offers.erase(offer);
  send_data(message, letter);
}

void Device::begin_receive(Message& message) {
  Link& link = *message.link;
  const int64_t part = link.mesh->max_put_bytes();
  message.open_parts = (message.num_bytes + part - 1) / part;
  side_of(link).regions[message.stadd] = {message.stadd + static_cast<utofu_stadd_t>(message.num_bytes), nullptr,
                                          &message};
  link.receives[message.key()] = &message;
  send_letter(link, Letter::Offer, message);
}

void Device::send_letter(Link& link, Letter::Kind kind, const Message& message) {
  Put put{Put::Mail, &link, link.vcq, 0};
  put.letter = {kind, message.channel, message.order, 0, message.num_bytes, message.stadd};
  enqueue(link, put);
}

void Device::send_data(Message& message, const Letter& offer) {
  Link& link = *message.link;
  if (offer.num_bytes != message.num_bytes) {
    send_letter(link, Letter::Refusal, message);
    return fail(message, "a message of " + std::to_string(message.num_bytes) + " bytes is to go where rank " +
                             std::to_string(link.peer) + " expects " + std::to_string(offer.num_bytes) +
                             "; the ranks disagree about the tensor");
  }
  const int64_t part = link.mesh->max_put_bytes();
  message.open_parts = (message.num_bytes + part - 1) / part;
  link.sending.insert(&message);
  for (int64_t begin = 0; begin < message.num_bytes; begin += part) {
    Put put{Put::Data, &link, link.vcq, offer.stadd + static_cast<utofu_stadd_t>(begin)};
    put.message = &message;
    put.from = message.stadd + static_cast<utofu_stadd_t>(begin);
    put.num_bytes = std::min(part, message.num_bytes - begin);
    enqueue(link, put);
  }
}

void Device::on_sent(Put& put, int code) {
  if (code != UTOFU_SUCCESS && put.link)
    fail(*put.link, "a put of uTofu could not be sent: " + describe_code(code));
  if (put.message) part_is_over(*put.message);
}

void Device::on_notice(Side& side, const utofu_mrq_notice& notice, int code) {
  if (code != UTOFU_SUCCESS)
    return fail_all_of(notice.vcq_id, "uTofu reports " + describe_code(code) +
                                          (code == UTOFU_ERR_MRQ_PEER ? "; its process has probably ended" : ""));
  std::atomic_thread_fence(std::memory_order_acquire);  // what the notice is about is read after it
  if (notice.notice_type == UTOFU_MRQ_TYPE_RMT_PUT) return on_arrival(side, notice);
  const auto told = side.telling.find({notice.vcq_id, notice.rmt_stadd});
  if (told == side.telling.end()) return;
  Link& link = *told->second;
  side.telling.erase(told);
  link.is_telling = false;
  tell(link);
}

void Device::on_arrival(Side& side, const utofu_mrq_notice& notice) {
  auto found = side.regions.lower_bound(notice.rmt_stadd);  // the first that begins at the end of the put, or behind
  if (found == side.regions.begin()) return;
  const utofu_stadd_t begin = (--found)->first;
  const Region region = found->second;
  if (notice.rmt_stadd > region.end) return;  // of an operation that was given up
  const auto sequence = static_cast<uint8_t>(notice.edata);
  if (region.message) {
    Message& message = *region.message;
    if (message.link->vcq == notice.vcq_id && hear(*message.link, sequence)) part_is_over(message);
  } else if (region.mesh) {
    Mesh& mesh = *region.mesh;
    const auto slot = static_cast<int64_t>((notice.rmt_stadd - begin) / sizeof(Letter)) - 1;
    const auto port = static_cast<int>(&side - ports_.data());
    Link& link = mesh.link(port, static_cast<int>(slot / mesh.own_window_));
    const Letter letter = link.letters_here[slot % mesh.own_window_];
    if (hear(link, sequence)) read_letter(link, letter);
  }
}

// Notes that a numbered put has come; false when that cannot be.
bool Device::hear(Link& link, uint8_t sequence) {
  if (!link.failure.empty()) return false;
  const auto ahead = static_cast<uint8_t>(sequence - static_cast<uint8_t>(link.num_heard));
  if (ahead >= link.mesh->window() || (link.heard_after >> ahead & 1)) {
    fail(link, "put number " + std::to_string(sequence) + " came where " +
                   std::to_string(static_cast<uint8_t>(link.num_heard)) + " was next");
    return false;
  }
  link.heard_after |= uint64_t{1} << ahead;
  for (; link.heard_after & 1; link.heard_after >>= 1) ++link.num_heard;
  tell(link);
  return true;
}

void Device::tell(Link& link) {
  const auto enough = static_cast<uint64_t>(std::max(1, link.mesh->window() / 2));
  if (link.is_telling || link.num_heard - link.num_told < enough || !link.failure.empty()) return;
  link.is_telling = true;
  link.num_told = link.num_heard;
  side_of(link).telling[{link.vcq, link.told_there + sizeof(uint64_t)}] = &link;
  Put put{Put::Told, &link, link.vcq, link.told_there};
  put.told = link.num_told;
  link.port->post(put);
}

void Device::read_letter(Link& link, const Letter& letter) {
  const uint64_t key = uint64_t{letter.channel} << 32 | letter.order;
  if (letter.kind == Letter::Offer) {
    const auto send = link.sends.find(key);
    if (send == link.sends.end()) {
      link.offers[key] = letter;
      return;
    }
    Message& message = *send->second;
    link.sends.erase(send);
    return send_data(message, letter);
  }
  const auto receive = link.receives.find(key);
  if (receive == link.receives.end()) return;
  Message& message = *receive->second;
  fail(message, "rank " + std::to_string(link.peer) + " has a message of " + std::to_string(letter.num_bytes) +
                    " bytes where " + std::to_string(message.num_bytes) +
                    " were expected; the ranks disagree about the tensor");
}

void Device::part_is_over(Message& message) {
  if (--message.open_parts > 0) return;
  if (!message.has_failed) message.outcome->finished.push_back(message.owner);
  finish(message);
}

// Takes it out of all books.
void Device::finish(Message& message) {
  Link& link = *message.link;
  if (message.is_send) {
    link.sends.erase(message.key());
    link.sending.erase(&message);
  } else {
    link.receives.erase(message.key());
    side_of(link).regions.erase(message.stadd);
  }
  message.outcome->messages.erase(message.self);
}

void Device::fail(Message& message, const std::string& why) {
  if (message.outcome->failure.empty()) message.outcome->failure = why;
  finish(message);
}

void Device::fail(Link& link, const std::string& why) {
  if (!link.failure.empty()) return;
  link.failure = "the link to rank " + std::to_string(link.peer) + " is broken: " + why;
  for (Message* message : link.sending) {
    message->has_failed = true;
    if (message->outcome->failure.empty()) message->outcome->failure = link.failure;
  }
  std::vector<Message*> dropped;
  for (const Put& put : link.waiting)
    if (put.message) dropped.push_back(put.message);
  link.waiting.clear();
  link.port->drop_waiting([&](const Put& put) { return put.link == &link; },
                          [&](Put& put) { if (put.message) dropped.push_back(put.message); });
  for (Message* message : dropped) part_is_over(*message);
  while (!link.sends.empty()) fail(*link.sends.begin()->second, link.failure);
  while (!link.receives.empty()) fail(*link.receives.begin()->second, link.failure);
  link.offers.clear();
}

void Device::fail_all_of(utofu_vcq_id_t vcq, const std::string& why) {
  for (Mesh* mesh : meshes_)
    for (const auto& link : mesh->links_)
      if (link && link->vcq == vcq) fail(*link, why);
}

void Device::forget(Message& message) {
  Link& link = *message.link;
  const bool is_known_there = !message.is_send || message.open_parts > 0;
  const auto is_of = [&](const Put& put) { return put.message == &message; };
  link.waiting.erase(std::remove_if(link.waiting.begin(), link.waiting.end(), is_of), link.waiting.end());
  link.port->drop_waiting(is_of, [](Put&) {});
  link.port->forget(&message);
  finish(message);
  if (is_known_there) fail(link, "an operation was given up while its data was under way");
}

Mesh::Mesh(std::shared_ptr<Device> device, int rank, int size)
    : device_(std::move(device)),
      rank_(rank),
      size_(size),
      num_ports_(std::min(device_->num_ports(), 8)),
      max_put_bytes_(device_->max_put_bytes()) {
  const std::lock_guard<std::recursive_mutex> lock(device_->mutex());
  own_window_ = window_ = device_->reserve_window(size - 1);
  const auto num_bytes = (static_cast<size_t>(mailbox_bytes()) + 255) / 256 * 256;
  for (int i = 0; i < device_->num_ports(); ++i) {
    mailboxes_.emplace_back(static_cast<char*>(std::aligned_alloc(256, num_bytes)), &std::free);
    if (!mailboxes_.back()) throw std::bad_alloc();
    std::fill_n(mailboxes_.back().get(), num_bytes, char{0});
    stadds_.push_back(device_->port(i).add_memory(mailboxes_.back().get(), static_cast<int64_t>(num_bytes)));
  }
  links_.resize(static_cast<size_t>(device_->num_ports()) * static_cast<size_t>(size));
  device_->add_mesh(this);
}

Mesh::~Mesh() {
  const std::lock_guard<std::recursive_mutex> lock(device_->mutex());
  device_->remove_mesh(this);
  device_->release_window(size_ - 1, own_window_);
}

std::vector<char> Mesh::address() const {
  Address address{num_ports_, own_window_, max_put_bytes_, {}};
  for (int i = 0; i < num_ports_; ++i)
    address.ports[static_cast<size_t>(i)] = {device_->port(i).id(), stadds_[static_cast<size_t>(i)]};
  const auto* begin = reinterpret_cast<const char*>(&address);
  return {begin, begin + sizeof address};
}

void Mesh::connect(const std::vector<char>& addresses) {
  if (addresses.size() != static_cast<size_t>(size_) * sizeof(Address))
    throw std::logic_error("addresses of " + std::to_string(addresses.size()) + " bytes for " + std::to_string(size_) +
                           " ranks");
  addresses_.resize(static_cast<size_t>(size_));
  std::copy(addresses.begin(), addresses.end(), reinterpret_cast<char*>(addresses_.data()));
  for (const Address& address : addresses_) {
    num_ports_ = std::min(num_ports_, static_cast<int>(address.num_ports));
    window_ = std::min(window_, static_cast<int>(address.window));
    max_put_bytes_ = std::min(max_put_bytes_, address.max_put_bytes);
  }
}

Link& Mesh::link(int port, int peer) {
  std::unique_ptr<Link>& link = links_[static_cast<size_t>(port) * static_cast<size_t>(size_) +
                                       static_cast<size_t>(peer)];
  if (link) return *link;
  const Address& address = addresses_[static_cast<size_t>(peer)];
  const PortAddress& there = address.ports[static_cast<size_t>(port)];
  const char* const here = mailboxes_[static_cast<size_t>(port)].get();
  link = std::make_unique<Link>();
  link->mesh = this;
  link->port = &device_->port(port);
  link->peer = peer;
  link->vcq = there.vcq;
  link->letters_there = there.mailbox + static_cast<utofu_stadd_t>(rank_) *
                                            static_cast<utofu_stadd_t>(address.window) * sizeof(Letter);
  link->told_there = there.mailbox + static_cast<utofu_stadd_t>(told_offset(address.window)) +
                     static_cast<utofu_stadd_t>(rank_) * sizeof(uint64_t);
  link->letters_here = reinterpret_cast<const Letter*>(here) + int64_t{peer} * own_window_;
  link->told_here = reinterpret_cast<const uint64_t*>(here + told_offset(own_window_)) + peer;
  return *link;
}

uint32_t Mesh::take_channels(int num_channels) {
  next_channel_ += static_cast<uint32_t>(num_channels);
  return next_channel_ - static_cast<uint32_t>(num_channels);
}

}  // namespace mfugaku::comm::utofu
