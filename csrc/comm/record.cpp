#include "record.h"

#include <algorithm>

namespace mfugaku::comm {

void Recorder::count_call(const std::string& group, const char* operation, int64_t num_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  Totals& totals = totals_[{group, operation}];
  ++totals.num_calls;
  totals.num_bytes += num_bytes;
}

void Recorder::add_wait(const std::string& group, const char* operation, double wait_s) {
  std::lock_guard<std::mutex> lock(mutex_);
  totals_[{group, operation}].wait_s += wait_s;
}

void Recorder::trace(TraceEvent event) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!tracing_) return;
  if (ring_.size() < kTraceCapacity) {
    ring_.push_back(std::move(event));
  } else {
    ring_[next_] = std::move(event);
    next_ = (next_ + 1) % kTraceCapacity;
  }
}

std::vector<std::pair<std::pair<std::string, std::string>, Totals>> Recorder::totals() {
  std::lock_guard<std::mutex> lock(mutex_);
  return {totals_.begin(), totals_.end()};
}

void Recorder::reset_totals() {
  std::lock_guard<std::mutex> lock(mutex_);
  totals_.clear();
}

void Recorder::set_tracing(bool on) {
  std::lock_guard<std::mutex> lock(mutex_);
  tracing_ = on;
  if (on) ring_.reserve(kTraceCapacity);
}

std::vector<TraceEvent> Recorder::drain_trace() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::rotate(ring_.begin(), ring_.begin() + static_cast<std::ptrdiff_t>(next_), ring_.end());
  std::vector<TraceEvent> events(ring_.begin(), ring_.end());
  ring_.clear();
  next_ = 0;
  return events;
}

}  // namespace mfugaku::comm
