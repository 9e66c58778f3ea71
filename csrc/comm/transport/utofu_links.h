// Messages between ranks by puts of uTofu into each other's memory.
//
// Who wants to receive puts a letter into the sender's mailbox: which message of which channel, and where it may go. The
// sender, once it has one for it, puts the data there, in parts, and the receiver's queue gets a notice for each.
// Nothing is assumed about the order in which puts arrive: a notice says where its own put ends, and by that the receiver
// knows what has come.
//
// The receive queue of a port must never overflow: that ends the process. So letters and data from one rank to another
// are numbered, and there are never more than `window` of them that the receiver has not read from its queue. It tells
// how far it has come without gaps by a put of a number, one at a time, that makes no notice at the sender. Reading a
// notice needs nothing from others, however far the schedules are, so nobody waits for ever for such a credit.
#pragma once

#include <array>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "utofu_port.h"

namespace mfugaku::comm::utofu {

// The open messages of one operation, and what has become of others.
struct Outcome {
  std::list<Message> messages;
  std::vector<int> finished;
  std::string failure;
};

struct Message {
  Outcome* outcome;
  std::list<Message>::iterator self;
  Link* link;
  bool is_send;
  uint32_t channel, order;
  int owner;
  int64_t num_bytes;
  utofu_stadd_t stadd;
  int64_t open_parts = 0;
  bool has_failed = false;  // and is over when its parts under way are
  uint64_t key() const { return uint64_t{channel} << 32 | order; }
};

class Mesh;

// One port of this rank and the same port of another.
struct Link {
  Mesh* mesh;
  Port* port;
  int peer;
  utofu_vcq_id_t vcq;
  utofu_stadd_t letters_there, told_there;
  const Letter* letters_here;
  const uint64_t* told_here;

  uint64_t num_sent = 0;     // letters and parts, numbered from 0
  std::deque<Put> waiting;   // for credit
  uint64_t num_heard = 0;    // without gaps
  uint64_t heard_after = 0;  // bit i: number num_heard + i
  uint64_t num_told = 0;
  bool is_telling = false;
  std::string failure;

  std::map<uint64_t, Letter> offers;     // for which there is no send yet
  std::map<uint64_t, Message*> sends;    // for which there is no offer yet
  std::map<uint64_t, Message*> receives;
  std::set<Message*> sending;
};

struct DeviceOptions {
  int max_ports = 6;
  int64_t max_put_bytes = int64_t{1} << 62;  // lowered by tests of messages in parts
  int64_t queue_entries = 131072;            // of a receive queue: UTOFU_NUM_MRQ_ENTRIES
  int max_window = 32;                       // at most 64
};

// The ports of this process, one on each network interface. Calls are made under mutex().
class Device {
 public:
  // Throws CommFailure when there is no interface.
  explicit Device(const DeviceOptions& options);

  std::recursive_mutex& mutex() { return mutex_; }
  int num_ports() const { return static_cast<int>(ports_.size()); }
  Port& port(int i) { return *ports_[static_cast<size_t>(i)].port; }
  int64_t max_put_bytes() const;

  // How many unread notices each of `num_peers` may cause, so that a queue never overflows; to be given back.
  int reserve_window(int num_peers);
  void release_window(int num_peers, int window) { reserved_entries_ -= entries_for(num_peers, window); }

  // Looks after everything, without waiting.
  void progress();

  void begin_send(Message& message);
  void begin_receive(Message& message);
  // The message goes away before its time.
  void forget(Message& message);

  void add_mesh(Mesh* mesh);
  // Its mailboxes stay: a last number may be on its way to them.
  void remove_mesh(Mesh* mesh);

 private:
  struct Region {
    utofu_stadd_t end;
    Mesh* mesh;        // its mailbox, or
    Message* message;  // what is received there
  };
  struct Side {
    std::unique_ptr<Port> port;
    std::map<utofu_stadd_t, Region> regions;  // by where they begin
    std::map<std::pair<utofu_vcq_id_t, utofu_stadd_t>, Link*> telling;
    std::vector<Link*> stalled;  // for lack of credit
  };

  static int64_t entries_for(int num_peers, int window) { return int64_t{num_peers} * (window + 1); }
  Side& side_of(const Link& link);
  void enqueue(Link& link, Put put);
  bool pump(Link& link);
  void send_letter(Link& link, Letter::Kind kind, const Message& message);
  void send_data(Message& message, const Letter& offer);
  void on_sent(Put& put, int code);
  void on_notice(Side& side, const utofu_mrq_notice& notice, int code);
  void on_arrival(Side& side, const utofu_mrq_notice& notice);
  void read_letter(Link& link, const Letter& letter);
  bool hear(Link& link, uint8_t sequence);
  void tell(Link& link);
  void part_is_over(Message& message);
  void finish(Message& message);
  void fail(Message& message, const std::string& why);
  void fail(Link& link, const std::string& why);
  void fail_all_of(utofu_vcq_id_t vcq, const std::string& why);

  DeviceOptions options_;
  std::recursive_mutex mutex_;
  std::vector<Side> ports_;
  std::vector<Mesh*> meshes_;
  std::vector<std::shared_ptr<char>> old_mailboxes_;
  int64_t reserved_entries_ = 0;
};

// The mailboxes of this rank in a group, and its links to the others.
class Mesh {
 public:
  Mesh(std::shared_ptr<Device> device, int rank, int size);
  ~Mesh();
  Mesh(const Mesh&) = delete;
  Mesh& operator=(const Mesh&) = delete;

  // What every rank of the group must know of this one; then connect() with those of all, one after the other.
  static size_t address_bytes() { return sizeof(Address); }
  std::vector<char> address() const;
  void connect(const std::vector<char>& addresses);

  Device& device() { return *device_; }
  int rank() const { return rank_; }
  int num_ports() const { return num_ports_; }
  int window() const { return window_; }
  int64_t max_put_bytes() const { return max_put_bytes_; }
  Link& link(int port, int peer);
  // The channels of one operation, apart from those of others; alike on all ranks.
  uint32_t take_channels(int num_channels);

 private:
  friend class Device;
  struct PortAddress {
    utofu_vcq_id_t vcq;
    utofu_stadd_t mailbox;
  };
  struct Address {
    int32_t num_ports, window;
    int64_t max_put_bytes;
    std::array<PortAddress, 8> ports;
  };
  int64_t told_offset(int window) const { return int64_t{size_} * window * static_cast<int64_t>(sizeof(Letter)); }
  int64_t mailbox_bytes() const { return told_offset(own_window_) + size_ * static_cast<int64_t>(sizeof(uint64_t)); }

  std::shared_ptr<Device> device_;
  int rank_, size_, num_ports_, own_window_, window_;
  int64_t max_put_bytes_;
  uint32_t next_channel_ = 0;
  std::vector<std::shared_ptr<char>> mailboxes_;  // by port
  std::vector<utofu_stadd_t> stadds_;
  std::vector<Address> addresses_;
  std::vector<std::unique_ptr<Link>> links_;  // by port and peer, made when needed
};

}  // namespace mfugaku::comm::utofu
