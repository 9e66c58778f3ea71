// Memory that other processes of this node can map: anonymous, so that nothing stays behind however a process ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace mfugaku::comm {

// Where another process finds a block of memory: a file descriptor of its owner, and which file that must be. The
// file's identity differs when the reader has another view of process numbers, as in a container of its own.
struct MemoryAddress {
  int32_t pid = 0;
  int32_t descriptor = -1;
  uint64_t device = 0, inode = 0;
  uint64_t num_bytes = 0;
};

// One mapping. Moves only; the memory goes away with its last mapping in any process.
class SharedMemory {
 public:
  SharedMemory() = default;
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  // Zeroed memory of this process; its pages are taken from the machine when they are first written. Throws
  // std::runtime_error with the reason when the system refuses.
  static SharedMemory create(const char* name, size_t num_bytes);
  // Maps what another process has created. Throws std::runtime_error with the reason.
  static SharedMemory open(const MemoryAddress& address, bool is_writable);

  char* data() const { return data_; }
  size_t num_bytes() const { return num_bytes_; }
  // Valid until `seal`.
  MemoryAddress address() const;
  // Gives the file descriptor back: nobody can open the memory from then on.
  void seal();
  // From now on, what this process writes stays its own; for the child of a fork, before `seal`. Without effect where
  // the system refuses.
  void make_private();

 private:
  char* data_ = nullptr;
  size_t num_bytes_ = 0;
  int descriptor_ = -1;
};

}  // namespace mfugaku::comm
