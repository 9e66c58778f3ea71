// Memory for tensors that the other ranks of the node can read and write where it lies: collectives on such tensors
// copy nothing into slots.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "memory.h"

namespace mfugaku::comm {

// The one arena of this process. It has room for as much as the machine has memory, and takes what is in use.
class Arena {
 public:
  static Arena& instance();

  // Why there is none; empty when there is one. Makes the arena when called first.
  const std::string& refusal();
  MemoryAddress address();

  // Memory aligned to a page; its first bytes are zero when it is new. Throws std::bad_alloc when the arena is full.
  void* allocate(int64_t num_bytes);
  // Gives the pages of large blocks back to the machine.
  void release(void* block);
  // Where in the arena `num_bytes` at `data` lie, or -1 when they do not all lie in it.
  int64_t offset_of(const void* data, int64_t num_bytes);

  // Where the arena of another process begins in this one, or null when it cannot be opened. Mapped once, for good.
  char* open(const MemoryAddress& address);

 private:
  std::mutex mutex_;
  bool is_made_ = false;
  std::string refusal_;
  SharedMemory memory_;
  MemoryAddress address_;
  std::map<int64_t, int64_t> free_, used_;  // offset -> bytes; the free ones never touch each other
  std::map<std::pair<int32_t, uint64_t>, SharedMemory> others_;  // by process and file

  void make();
  void give_back(int64_t offset, int64_t num_bytes);
};

}  // namespace mfugaku::comm
