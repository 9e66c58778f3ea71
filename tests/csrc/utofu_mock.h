// A Tofu network of some nodes within one thread: puts copy memory when step() comes to them, in an order and with
// faults that follow from a seed, and every misuse of the interface is noted.
//
// Harsher than the machine where its guide promises nothing: data comes in pieces, puts overtake each other, and so do
// their notices, also between the same queues.
#pragma once

#include <utofu.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support.h"

namespace mfugaku::tests {

struct TofuFaults {
  int num_tnis = 2;
  size_t max_put_bytes = 16'777'215;
  size_t order_entries = 512;     // puts that a queue takes until their completions are read
  size_t receive_entries = 131'072;
  int busy_percent = 0;           // of calls that are refused with UTOFU_ERR_BUSY without need
  int invalid_put = -1;           // this one, counted over all nodes, ends with UTOFU_ERR_TCQ_MEMORY
  bool may_lose_target = false;   // a put to memory no longer registered is refused as ever, but no misuse
};

class TofuMock {
 public:
  // The one behind the functions of <utofu.h>; everything before is forgotten.
  static TofuMock& reset(int num_nodes, const TofuFaults& faults, uint64_t seed);
  static TofuMock& instance();

  // Code of this node runs from now on.
  void enter(int node) { node_ = node; }
  // Lets one thing happen on the network; false when nothing is under way.
  bool step();
  // Ends a node's process: puts to it fail, its own never arrive.
  void kill(int node) { is_dead_[static_cast<size_t>(node)] = true; }

  // The first misuse or overflow; empty when there was none.
  const std::string& fault() const { return fault_; }
  // Queues and registrations that still stand.
  int num_queues() const;
  int num_registrations() const;
  int64_t num_busy = 0, num_puts = 0, num_overtaken = 0;
  size_t most_unread = 0;  // notices in one receive queue

  // The functions of <utofu.h>.
  int create(utofu_tni_id_t tni, utofu_vcq_hdl_t* handle);
  int free(utofu_vcq_hdl_t handle);
  int id_of(utofu_vcq_hdl_t handle, utofu_vcq_id_t* id);
  int add_memory(utofu_vcq_hdl_t handle, void* memory, size_t size, utofu_stadd_t* stadd);
  int remove_memory(utofu_vcq_hdl_t handle, utofu_stadd_t stadd);
  int put(utofu_vcq_hdl_t handle, utofu_vcq_id_t to, const void* carried, utofu_stadd_t from, utofu_stadd_t rmt,
          size_t length, uint64_t edata, unsigned long flags, void* data);
  int poll_tcq(utofu_vcq_hdl_t handle, void** data);
  int poll_mrq(utofu_vcq_hdl_t handle, utofu_mrq_notice* notice);
  utofu_onesided_caps caps{};
  const TofuFaults& faults() const { return faults_; }

 private:
  struct Registration {
    char* memory;
    size_t size;
    int count;
  };
  struct Sent {
    void* data;
    int code;
    bool is_ready, is_told;
  };
  struct Notice {
    utofu_mrq_notice notice;
    int code;
  };
  struct Queue {
    int node;
    bool is_free = false;
    utofu_stadd_t next_stadd;
    std::map<utofu_stadd_t, Registration> memory;
    std::deque<std::shared_ptr<Sent>> sent;  // in the order of the puts
    std::deque<Notice> received;
  };
  struct Flight {
    size_t from, to;
    utofu_stadd_t source, target;
    size_t length;
    uint64_t edata;
    unsigned long flags;
    std::shared_ptr<Sent> sent;
    std::vector<char> bytes;  // once read
    std::vector<std::pair<size_t, size_t>> pieces;  // not yet written
    enum { ToRead, ToWrite, ToTellThere, ToTellHere } stage;
    int64_t number;
  };

  Queue* find(utofu_vcq_hdl_t handle, const char* call);
  void note(const std::string& what);
  char* resolve(Queue& queue, utofu_stadd_t stadd, size_t length);
  void tell(Queue& queue, uint8_t type, utofu_vcq_id_t other, const Flight& flight, int code);
  bool advance(Flight& flight);

  TofuFaults faults_;
  Random random_{1};
  int node_ = 0;
  std::vector<bool> is_dead_;
  std::vector<Queue> queues_;
  std::vector<Flight> flights_;
  std::string fault_;
};

}  // namespace mfugaku::tests
