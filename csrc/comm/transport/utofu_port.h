// One virtual control queue of uTofu: memory it may reach, puts that wait for their turn, and what comes back.
//
// Facts of the interface are those of Fujitsu's "uTofu User's Guide" (J2UL-2567, in RIKEN-RCCS/fugaku-doc), 2.2 and 3.
#pragma once

#include <utofu.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

namespace mfugaku::comm::utofu {

struct Link;
struct Message;

// What one rank tells another, in the 32 bytes that a put can carry along.
struct Letter {
  enum Kind : uint32_t { Offer = 1, Refusal };  // "send it here", "mine has another length"
  uint32_t kind, channel, order, unused;
  int64_t num_bytes;
  utofu_stadd_t stadd;
};
static_assert(sizeof(Letter) == 32, "the most that a put of uTofu carries along");

struct Put {
  enum Kind { Mail, Data, Told };
  Kind kind;
  Link* link;
  utofu_vcq_id_t vcq;
  utofu_stadd_t to;
  Message* message = nullptr;  // of data
  utofu_stadd_t from = 0;      // of data
  int64_t num_bytes = 0;
  uint8_t sequence = 0;
  Letter letter{};
  uint64_t told = 0;
};

// Throws CommFailure when `code` is an error.
void check_utofu(int code, const char* call);
// As in "UTOFU_ERR_BUSY (-4)".
std::string describe_code(int code);

class Port {
 public:
  explicit Port(utofu_tni_id_t tni);
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  utofu_vcq_id_t id() const { return id_; }
  int64_t max_put_bytes() const { return max_put_bytes_; }

  utofu_stadd_t add_memory(void* memory, int64_t num_bytes);
  void remove_memory(utofu_stadd_t stadd);

  // Puts go out in their order as soon as the queue has room.
  void post(Put put) { waiting_.push_back(std::make_unique<Put>(put)); }
  // Posts what there is room for. `on_refused` gets a put that the library does not take, with its code.
  using OnPut = std::function<void(Put&, int code)>;
  void flush(const OnPut& on_refused);
  // Calls back for every put whose memory may be written again, or whose sending failed.
  void poll_sent(const OnPut& on_sent);
  using OnNotice = std::function<void(const utofu_mrq_notice&, int code)>;
  void poll_notices(const OnNotice& on_notice);

  // Takes puts out of the line that `is_meant` chooses and gives each to `on_dropped`.
  void drop_waiting(const std::function<bool(const Put&)>& is_meant, const std::function<void(Put&)>& on_dropped);
  // They go away; what is under way for them is then nobody's.
  void forget(const Message* message);
  void forget(const Link* link);

 private:
  int start(Put& put);

  utofu_vcq_hdl_t handle_ = 0;
  utofu_vcq_id_t id_ = 0;
  int64_t max_put_bytes_ = 0;
  std::deque<std::unique_ptr<Put>> waiting_;
  std::unordered_map<Put*, std::unique_ptr<Put>> under_way_;
};

}  // namespace mfugaku::comm::utofu
