// Memory for tensors that the other ranks of the node can read and write where it lies: collectives on such tensors
// copy nothing into slots.
//
// Pages come from the machine when they are first written, near the core that does so. Those of freed blocks are kept
// for the next ones, since taking them anew costs more than most work on them, up to a sixteenth of the arena.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "memory.h"

namespace mfugaku::comm {

// The one arena of this process. A forked child has a private copy of it, in which nothing is allocated or released.
class Arena {
 public:
  static Arena& instance();

  // How much it can hold; 0, as much as the machine has memory. No effect once the arena is made.
  void set_capacity(int64_t num_bytes);
  // Why there is none; empty when there is one. Makes the arena when called first.
  std::string refusal();
  MemoryAddress address();
  // Whether another process's arena was opened: what lies in this one is then of use to somebody.
  bool is_shared() const { return is_shared_.load(std::memory_order_relaxed); }

  // Uninitialised memory aligned to a page; null when the arena is full, or there is none.
  void* allocate(int64_t num_bytes);
  void release(void* block);
  // Where in the arena `num_bytes` at `data` lie, or -1 when they do not all lie in it.
  int64_t offset_of(const void* data, int64_t num_bytes);

  // Where the arena of another process begins in this one, or null when it cannot be opened. Mapped once, for good.
  char* open(const MemoryAddress& address);

 private:
  std::mutex mutex_;
  bool is_made_ = false, is_child_ = false;
  std::atomic<bool> is_shared_{false};
  int64_t unit_ = 4096, capacity_ = 0;
  int64_t kept_ = 0;  // bytes of free blocks that have pages, as far as is known: blocks are taken to use those first
  std::string refusal_;
  SharedMemory memory_;
  MemoryAddress address_;
  std::map<int64_t, int64_t> free_, used_;  // offset -> bytes; the free ones never touch each other
  std::map<std::pair<int32_t, uint64_t>, SharedMemory> others_;  // by process and file

  void make();
  static void watch_forks();
  void give_back(int64_t offset, int64_t num_bytes);
};

}  // namespace mfugaku::comm
