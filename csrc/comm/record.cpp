#include "record.h"

#include <algorithm>

namespace mfugaku::comm {

Totals& Recorder::totals_of(const std::string& group, const char* operation) {
  std::lock_guard<std::mutex> lock(mutex_);
  return totals_[{group, operation}];
}

void Recorder::count_call(Totals& totals, int64_t num_bytes, double wait_s) {
  std::lock_guard<std::mutex> lock(mutex_);
  ++totals.num_calls;
  totals.num_bytes += num_bytes;
  totals.wait_s += wait_s;
}

void Recorder::add_wait(Totals& totals, double wait_s) {
  std::lock_guard<std::mutex> lock(mutex_);
  totals.wait_s += wait_s;
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
  std::vector<std::pair<std::pair<std::string, std::string>, Totals>> called;
  for (const auto& line : totals_)
    if (line.second.num_calls > 0) called.push_back(line);
  return called;
}

void Recorder::reset_totals() {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto& line : totals_) line.second = Totals{};
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
