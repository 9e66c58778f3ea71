#include "utofu_mock.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace mfugaku::tests {
namespace {

TofuMock* current = nullptr;
constexpr utofu_vcq_id_t kIds = 0x7000;       // queue i has id kIds + i and handle kHandles + i
constexpr utofu_vcq_hdl_t kHandles = 0x100;
constexpr size_t kLine = 256;

}  // namespace

TofuMock& TofuMock::reset(int num_nodes, const TofuFaults& faults, uint64_t seed) {
  delete current;
  current = new TofuMock();
  current->faults_ = faults;
  current->random_ = Random(seed);
  current->is_dead_.assign(static_cast<size_t>(num_nodes), false);
  current->caps.max_putget_size = faults.max_put_bytes;
  current->caps.max_piggyback_size = 32;
  current->caps.max_edata_size = 1;
  return *current;
}

TofuMock& TofuMock::instance() { return *current; }

void TofuMock::note(const std::string& what) {
  if (fault_.empty()) fault_ = "node " + std::to_string(node_) + ": " + what;
}

TofuMock::Queue* TofuMock::find(utofu_vcq_hdl_t handle, const char* call) {
  if (handle < kHandles || handle - kHandles >= queues_.size() || queues_[handle - kHandles].is_free) {
    note(std::string(call) + " on a queue that is none");
    return nullptr;
  }
  Queue& queue = queues_[handle - kHandles];
  if (queue.node != node_) note(std::string(call) + " on the queue of node " + std::to_string(queue.node));
  return &queue;
}

int TofuMock::create(utofu_tni_id_t tni, utofu_vcq_hdl_t* handle) {
  if (tni >= faults_.num_tnis) return UTOFU_ERR_INVALID_TNI_ID;
  *handle = kHandles + queues_.size();
  queues_.emplace_back();
  queues_.back().node = node_;
  queues_.back().next_stadd = queues_.size() << 40;
  return UTOFU_SUCCESS;
}

int TofuMock::free(utofu_vcq_hdl_t handle) {
  Queue* queue = find(handle, "utofu_free_vcq");
  if (!queue) return UTOFU_ERR_INVALID_VCQ_HDL;
  queue->is_free = true;
  queue->memory.clear();
  return UTOFU_SUCCESS;
}

int TofuMock::id_of(utofu_vcq_hdl_t handle, utofu_vcq_id_t* id) {
  if (!find(handle, "utofu_query_vcq_id")) return UTOFU_ERR_INVALID_VCQ_HDL;
  *id = kIds + (handle - kHandles);
  return UTOFU_SUCCESS;
}

int TofuMock::add_memory(utofu_vcq_hdl_t handle, void* memory, size_t size, utofu_stadd_t* stadd) {
  Queue* queue = find(handle, "utofu_reg_mem");
  if (!queue) return UTOFU_ERR_INVALID_VCQ_HDL;
  if (size == 0) return UTOFU_ERR_INVALID_SIZE;
  for (auto& [known, registration] : queue->memory)
    if (registration.memory == memory && registration.size == size) {
      ++registration.count;
      *stadd = known;
      return UTOFU_SUCCESS;
    }
  *stadd = queue->next_stadd;
  queue->next_stadd += (size / kLine + 2) * kLine;
  queue->memory[*stadd] = {static_cast<char*>(memory), size, 1};
  return UTOFU_SUCCESS;
}

int TofuMock::remove_memory(utofu_vcq_hdl_t handle, utofu_stadd_t stadd) {
  Queue* queue = find(handle, "utofu_dereg_mem");
  if (!queue) return UTOFU_ERR_INVALID_VCQ_HDL;
  const auto found = queue->memory.find(stadd);
  if (found == queue->memory.end()) {
    note("utofu_dereg_mem of what is not registered");
    return UTOFU_ERR_INVALID_STADD;
  }
  if (--found->second.count == 0) queue->memory.erase(found);
  return UTOFU_SUCCESS;
}

char* TofuMock::resolve(Queue& queue, utofu_stadd_t stadd, size_t length) {
  auto found = queue.memory.upper_bound(stadd);
  if (queue.is_free || found == queue.memory.begin()) return nullptr;
  --found;
  const size_t offset = stadd - found->first;
  return offset + length <= found->second.size ? found->second.memory + offset : nullptr;
}

int TofuMock::put(utofu_vcq_hdl_t handle, utofu_vcq_id_t to, const void* carried, utofu_stadd_t from,
                  utofu_stadd_t rmt, size_t length, uint64_t edata, unsigned long flags, void* data) {
  Queue* queue = find(handle, "a put");
  if (!queue) return UTOFU_ERR_INVALID_VCQ_HDL;
  if (to < kIds || to - kIds >= queues_.size()) {
    note("a put to a queue that is none");
    return UTOFU_ERR_INVALID_VCQ_ID;
  }
  if (length == 0 || length > (carried ? caps.max_piggyback_size : caps.max_putget_size)) {
    note("a put of " + std::to_string(length) + " bytes");
    return UTOFU_ERR_INVALID_SIZE;
  }
  if (edata > 0xff) {
    note("EDATA " + std::to_string(edata));
    return UTOFU_ERR_INVALID_EDATA;
  }
  const bool is_full = queue->sent.size() >= faults_.order_entries;
  if (is_full || static_cast<int>(random_.bits() % 100) < faults_.busy_percent) {
    ++num_busy;
    return UTOFU_ERR_BUSY;
  }
  Flight flight{};
  flight.from = handle - kHandles;
  flight.to = to - kIds;
  flight.source = from;
  flight.target = rmt;
  flight.length = length;
  flight.edata = edata;
  flight.flags = flags;
  flight.number = num_puts++;
  flight.sent = std::make_shared<Sent>(Sent{data, UTOFU_SUCCESS, false, (flags & UTOFU_ONESIDED_FLAG_TCQ_NOTICE) != 0});
  queue->sent.push_back(flight.sent);
  if (carried) {
    const auto* bytes = static_cast<const char*>(carried);
    flight.bytes.assign(bytes, bytes + length);
  }
  flights_.push_back(std::move(flight));
  return UTOFU_SUCCESS;
}

int TofuMock::poll_tcq(utofu_vcq_hdl_t handle, void** data) {
  Queue* queue = find(handle, "utofu_poll_tcq");
  if (!queue) return UTOFU_ERR_INVALID_VCQ_HDL;
  while (!queue->sent.empty() && queue->sent.front()->is_ready) {
    const std::shared_ptr<Sent> sent = queue->sent.front();
    queue->sent.pop_front();
    if (!sent->is_told && sent->code == UTOFU_SUCCESS) continue;
    *data = sent->data;
    return sent->code;
  }
  return UTOFU_ERR_NOT_FOUND;
}

int TofuMock::poll_mrq(utofu_vcq_hdl_t handle, utofu_mrq_notice* notice) {
  Queue* queue = find(handle, "utofu_poll_mrq");
  if (!queue) return UTOFU_ERR_INVALID_VCQ_HDL;
  if (queue->received.empty()) return UTOFU_ERR_NOT_FOUND;
  const Notice next = queue->received.front();
  queue->received.pop_front();
  *notice = next.notice;
  return next.code;
}

void TofuMock::tell(Queue& queue, uint8_t type, utofu_vcq_id_t other, const Flight& flight, int code) {
  if (queue.received.size() >= faults_.receive_entries) return note("MRQ overflow");
  utofu_mrq_notice notice{};
  notice.notice_type = type;
  notice.vcq_id = other;
  notice.edata = flight.edata;
  notice.rmt_stadd = flight.target + flight.length;
  queue.received.push_back({notice, code});
  most_unread = std::max(most_unread, queue.received.size());
}

bool TofuMock::step() {
  if (flights_.empty()) return false;
  const size_t i = random_.bits() % flights_.size();
  if (advance(flights_[i])) {
    for (const Flight& other : flights_) num_overtaken += other.number < flights_[i].number;
    flights_[i] = std::move(flights_.back());
    flights_.pop_back();
  }
  return true;
}

// True when the flight is over.
bool TofuMock::advance(Flight& flight) {
  Queue& here = queues_[flight.from];
  Queue& there = queues_[flight.to];
  const utofu_vcq_id_t id_here = kIds + flight.from, id_there = kIds + flight.to;
  const auto fail = [&](int code) {
    tell(here, UTOFU_MRQ_TYPE_LCL_PUT, id_there, flight, code);
    return true;
  };
  if (is_dead_[static_cast<size_t>(here.node)]) return true;
  switch (flight.stage) {
    case Flight::ToRead: {
      flight.sent->is_ready = true;
      if (flight.number == faults_.invalid_put) {
        flight.sent->code = UTOFU_ERR_TCQ_MEMORY;
        return true;
      }
      if (flight.bytes.empty()) {
        const char* source = resolve(here, flight.source, flight.length);
        if (!source) {
          note("a put of memory that is not registered");
          flight.sent->code = UTOFU_ERR_TCQ_STADD;
          return true;
        }
        flight.bytes.assign(source, source + flight.length);
      }
      for (size_t begin = 0; begin < flight.length;) {  // up to the ends of lines there
        const size_t end = std::min(flight.length, ((flight.target + begin) / kLine + 1) * kLine - flight.target);
        flight.pieces.emplace_back(begin, end);
        begin = end;
      }
      flight.stage = Flight::ToWrite;
      return false;
    }
    case Flight::ToWrite: {
      if (is_dead_[static_cast<size_t>(there.node)]) return fail(UTOFU_ERR_MRQ_PEER);
      char* const target = resolve(there, flight.target, flight.length);
      if (!target) {
        if (!faults_.may_lose_target) note("a put to memory that is not registered");
        return fail(UTOFU_ERR_MRQ_RMT_STADD);
      }
      for (size_t count = 1 + random_.bits() % flight.pieces.size(); count > 0; --count) {
        std::swap(flight.pieces[random_.bits() % flight.pieces.size()], flight.pieces.back());
        const auto [begin, end] = flight.pieces.back();
        std::memcpy(target + begin, flight.bytes.data() + begin, end - begin);
        flight.pieces.pop_back();
      }
      if (flight.pieces.empty()) flight.stage = Flight::ToTellThere;
      return false;
    }
    case Flight::ToTellThere:
      if (is_dead_[static_cast<size_t>(there.node)]) return fail(UTOFU_ERR_MRQ_PEER);
      if (flight.flags & UTOFU_ONESIDED_FLAG_REMOTE_MRQ_NOTICE)
        tell(there, UTOFU_MRQ_TYPE_RMT_PUT, id_here, flight, UTOFU_SUCCESS);
      flight.stage = Flight::ToTellHere;
      return !(flight.flags & UTOFU_ONESIDED_FLAG_LOCAL_MRQ_NOTICE);
    case Flight::ToTellHere: break;
  }
  tell(here, UTOFU_MRQ_TYPE_LCL_PUT, id_there, flight, UTOFU_SUCCESS);
  return true;
}

int TofuMock::num_queues() const {
  return static_cast<int>(std::count_if(queues_.begin(), queues_.end(), [](const Queue& q) { return !q.is_free; }));
}

int TofuMock::num_registrations() const {
  int count = 0;
  for (const Queue& queue : queues_) count += static_cast<int>(queue.memory.size());
  return count;
}

}  // namespace mfugaku::tests

using mfugaku::tests::TofuMock;

int utofu_get_onesided_tnis(utofu_tni_id_t** tnis, size_t* num_tnis) {
  *num_tnis = static_cast<size_t>(TofuMock::instance().faults().num_tnis);
  *tnis = static_cast<utofu_tni_id_t*>(std::malloc(*num_tnis * sizeof(utofu_tni_id_t)));
  for (size_t i = 0; i < *num_tnis; ++i) (*tnis)[i] = static_cast<utofu_tni_id_t>(i);
  return UTOFU_SUCCESS;
}
int utofu_query_onesided_caps(utofu_tni_id_t, utofu_onesided_caps** caps) {
  *caps = &TofuMock::instance().caps;
  return UTOFU_SUCCESS;
}
int utofu_create_vcq(utofu_tni_id_t tni, unsigned long, utofu_vcq_hdl_t* handle) {
  return TofuMock::instance().create(tni, handle);
}
int utofu_free_vcq(utofu_vcq_hdl_t handle) { return TofuMock::instance().free(handle); }
int utofu_query_vcq_id(utofu_vcq_hdl_t handle, utofu_vcq_id_t* id) { return TofuMock::instance().id_of(handle, id); }
int utofu_reg_mem(utofu_vcq_hdl_t handle, void* memory, size_t size, unsigned long, utofu_stadd_t* stadd) {
  return TofuMock::instance().add_memory(handle, memory, size, stadd);
}
int utofu_dereg_mem(utofu_vcq_hdl_t handle, utofu_stadd_t stadd, unsigned long) {
  return TofuMock::instance().remove_memory(handle, stadd);
}
int utofu_put(utofu_vcq_hdl_t handle, utofu_vcq_id_t to, utofu_stadd_t from, utofu_stadd_t rmt, size_t length,
              uint64_t edata, unsigned long flags, void* data) {
  return TofuMock::instance().put(handle, to, nullptr, from, rmt, length, edata, flags, data);
}
int utofu_put_piggyback(utofu_vcq_hdl_t handle, utofu_vcq_id_t to, void* carried, utofu_stadd_t rmt, size_t length,
                        uint64_t edata, unsigned long flags, void* data) {
  return TofuMock::instance().put(handle, to, carried, 0, rmt, length, edata, flags, data);
}
int utofu_put_piggyback8(utofu_vcq_hdl_t handle, utofu_vcq_id_t to, uint64_t carried, utofu_stadd_t rmt, size_t length,
                         uint64_t edata, unsigned long flags, void* data) {
  return TofuMock::instance().put(handle, to, &carried, 0, rmt, length, edata, flags, data);
}
int utofu_poll_tcq(utofu_vcq_hdl_t handle, unsigned long, void** data) {
  return TofuMock::instance().poll_tcq(handle, data);
}
int utofu_poll_mrq(utofu_vcq_hdl_t handle, unsigned long, utofu_mrq_notice* notice) {
  return TofuMock::instance().poll_mrq(handle, notice);
}
