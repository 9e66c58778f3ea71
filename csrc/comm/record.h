// What the run report wants to know: totals per group and operation, and a bounded trace of single operations.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace mfugaku::comm {

struct Totals {
  int64_t num_calls = 0;
  int64_t num_bytes = 0;
  double wait_s = 0;
};

// Times in seconds on CLOCK_MONOTONIC. wait_start_s equals end_s when nobody waited before the operation was over.
struct TraceEvent {
  std::shared_ptr<const std::string> group;
  const char* operation = "";
  uint64_t sequence = 0;
  int64_t num_bytes = 0;
  double start_s = 0, wait_start_s = 0, end_s = 0;
  std::string way;
};

class Recorder {
 public:
  static constexpr size_t kTraceCapacity = size_t{1} << 16;  // the oldest events give way

  // The totals of an operation on a group, there as long as the recorder is; to be changed by the two below.
  Totals& totals_of(const std::string& group, const char* operation);
  void count_call(Totals& totals, int64_t num_bytes, double wait_s);
  void add_wait(Totals& totals, double wait_s);
  void trace(TraceEvent event);

  // Of what was called since the last reset.
  std::vector<std::pair<std::pair<std::string, std::string>, Totals>> totals();
  void reset_totals();
  void set_tracing(bool on);
  bool is_tracing() const { return tracing_.load(std::memory_order_relaxed); }
  std::vector<TraceEvent> drain_trace();

 private:
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, Totals> totals_;
  std::atomic<bool> tracing_{false};
  std::vector<TraceEvent> ring_;
  size_t next_ = 0;
};

}  // namespace mfugaku::comm
