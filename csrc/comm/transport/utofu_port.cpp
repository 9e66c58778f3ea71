#include "utofu_port.h"

#include <utility>

#include "../types.h"

namespace mfugaku::comm::utofu {
namespace {

const char* name_of(int code) {
  switch (code) {
    case UTOFU_ERR_NOT_FOUND: return "UTOFU_ERR_NOT_FOUND";
    case UTOFU_ERR_BUSY: return "UTOFU_ERR_BUSY";
    case UTOFU_ERR_FULL: return "UTOFU_ERR_FULL";
    case UTOFU_ERR_NOT_AVAILABLE: return "UTOFU_ERR_NOT_AVAILABLE";
    case UTOFU_ERR_NOT_SUPPORTED: return "UTOFU_ERR_NOT_SUPPORTED";
    case UTOFU_ERR_TCQ_OTHER: return "UTOFU_ERR_TCQ_OTHER";
    case UTOFU_ERR_TCQ_DESC: return "UTOFU_ERR_TCQ_DESC";
    case UTOFU_ERR_TCQ_MEMORY: return "UTOFU_ERR_TCQ_MEMORY";
    case UTOFU_ERR_TCQ_STADD: return "UTOFU_ERR_TCQ_STADD";
    case UTOFU_ERR_TCQ_LENGTH: return "UTOFU_ERR_TCQ_LENGTH";
    case UTOFU_ERR_MRQ_OTHER: return "UTOFU_ERR_MRQ_OTHER";
    case UTOFU_ERR_MRQ_PEER: return "UTOFU_ERR_MRQ_PEER";
    case UTOFU_ERR_MRQ_LCL_MEMORY: return "UTOFU_ERR_MRQ_LCL_MEMORY";
    case UTOFU_ERR_MRQ_RMT_MEMORY: return "UTOFU_ERR_MRQ_RMT_MEMORY";
    case UTOFU_ERR_MRQ_LCL_STADD: return "UTOFU_ERR_MRQ_LCL_STADD";
    case UTOFU_ERR_MRQ_RMT_STADD: return "UTOFU_ERR_MRQ_RMT_STADD";
    case UTOFU_ERR_MRQ_LCL_LENGTH: return "UTOFU_ERR_MRQ_LCL_LENGTH";
    case UTOFU_ERR_MRQ_RMT_LENGTH: return "UTOFU_ERR_MRQ_RMT_LENGTH";
    default: return "an error of uTofu";
  }
}

}  // namespace

std::string describe_code(int code) { return std::string(name_of(code)) + " (" + std::to_string(code) + ")"; }

void check_utofu(int code, const char* call) {
  if (code != UTOFU_SUCCESS) throw CommFailure(std::string(call) + " failed: " + describe_code(code));
}

Port::Port(utofu_tni_id_t tni) {
  utofu_onesided_caps* caps = nullptr;
  check_utofu(utofu_query_onesided_caps(tni, &caps), "utofu_query_onesided_caps");
  if (caps->max_piggyback_size < sizeof(Letter) || caps->max_edata_size < 1)
    throw CommFailure("this Tofu network carries too little along with a put: " +
                      std::to_string(caps->max_piggyback_size) + " bytes and " + std::to_string(caps->max_edata_size) +
                      " of EDATA, where 32 and 1 are needed");
  max_put_bytes_ = static_cast<int64_t>(caps->max_putget_size);
  // A queue of its own: others would fill the receive queue that credits are counted for.
  check_utofu(utofu_create_vcq(tni, UTOFU_VCQ_FLAG_EXCLUSIVE, &handle_), "utofu_create_vcq");
  check_utofu(utofu_query_vcq_id(handle_, &id_), "utofu_query_vcq_id");
}

Port::~Port() { utofu_free_vcq(handle_); }

utofu_stadd_t Port::add_memory(void* memory, int64_t num_bytes) {
  utofu_stadd_t stadd = 0;
  check_utofu(utofu_reg_mem(handle_, memory, static_cast<size_t>(num_bytes), 0, &stadd), "utofu_reg_mem");
  return stadd;
}

void Port::remove_memory(utofu_stadd_t stadd) { utofu_dereg_mem(handle_, stadd, 0); }

int Port::start(Put& put) {
  constexpr unsigned long tells_here = UTOFU_ONESIDED_FLAG_TCQ_NOTICE;
  constexpr unsigned long tells_there = tells_here | UTOFU_ONESIDED_FLAG_REMOTE_MRQ_NOTICE;
  switch (put.kind) {
    case Put::Mail:
      return utofu_put_piggyback(handle_, put.vcq, &put.letter, put.to, sizeof put.letter, put.sequence, tells_there,
                                 &put);
    case Put::Data:
      return utofu_put(handle_, put.vcq, put.from, put.to, static_cast<size_t>(put.num_bytes), put.sequence,
                       tells_there, &put);
    case Put::Told: break;
  }
  return utofu_put_piggyback8(handle_, put.vcq, put.told, put.to, sizeof put.told, 0,
                              tells_here | UTOFU_ONESIDED_FLAG_LOCAL_MRQ_NOTICE, &put);
}

void Port::flush(const OnPut& on_refused) {
  while (!waiting_.empty()) {
    const int code = start(*waiting_.front());
    if (code == UTOFU_ERR_BUSY) return;  // until completions have been read
    std::unique_ptr<Put> put = std::move(waiting_.front());
    waiting_.pop_front();
    if (code != UTOFU_SUCCESS) {
      on_refused(*put, code);
    } else {
      Put* const key = put.get();
      under_way_.emplace(key, std::move(put));
    }
  }
}

void Port::poll_sent(const OnPut& on_sent) {
  while (true) {
    void* data = nullptr;
    const int code = utofu_poll_tcq(handle_, 0, &data);
    if (code == UTOFU_ERR_NOT_FOUND) return;
    const auto found = under_way_.find(static_cast<Put*>(data));
    if (found == under_way_.end()) check_utofu(code == UTOFU_SUCCESS ? UTOFU_ERR_TCQ_OTHER : code, "utofu_poll_tcq");
    const std::unique_ptr<Put> put = std::move(found->second);
    under_way_.erase(found);
    on_sent(*put, code);
  }
}

void Port::poll_notices(const OnNotice& on_notice) {
  while (true) {
    utofu_mrq_notice notice{};
    const int code = utofu_poll_mrq(handle_, 0, &notice);
    if (code == UTOFU_ERR_NOT_FOUND) return;
    if (code <= UTOFU_ERR_INVALID_ARG) check_utofu(code, "utofu_poll_mrq");  // about the call, not about a put
    on_notice(notice, code);
  }
}

void Port::drop_waiting(const std::function<bool(const Put&)>& is_meant, const std::function<void(Put&)>& on_dropped) {
  std::deque<std::unique_ptr<Put>> all;
  all.swap(waiting_);
  for (auto& put : all) {
    if (is_meant(*put))
      on_dropped(*put);
    else
      waiting_.push_back(std::move(put));
  }
}

void Port::forget(const Message* message) {
  for (auto& [key, put] : under_way_)
    if (put->message == message) put->message = nullptr;
}

void Port::forget(const Link* link) {
  drop_waiting([=](const Put& put) { return put.link == link; }, [](Put&) {});
  for (auto& [key, put] : under_way_)
    if (put->link == link) put->link = nullptr;
}

}  // namespace mfugaku::comm::utofu
