// Temporary memory for collectives. Freed blocks are kept for the next operation: a fresh mapping of tens of MB per
// all-reduce would cost more in page faults than the reduction itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

namespace mfugaku::comm {

class Scratch {
 public:
  // Uninitialised memory of at least `num_bytes`, aligned to 256 bytes; goes back to the pool with its last owner.
  static std::shared_ptr<char> acquire(int64_t num_bytes);

 private:
  static constexpr size_t kMaxPooledBytes = size_t{512} << 20;
  std::mutex mutex_;
  std::multimap<size_t, char*> free_;
  size_t free_bytes_ = 0;

  static Scratch& instance();
  void release(char* block, size_t num_bytes);
};

}  // namespace mfugaku::comm
