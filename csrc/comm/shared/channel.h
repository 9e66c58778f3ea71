// What the members of a group on one node share: slots of memory through which their collectives pass.
//
// Every member owns a segment that only it writes and all read. The data of a collective passes in chunks, numbered
// from 0 over the life of the group and alike on all members. Chunk n of a member stands in its input slot n modulo
// kNumSlots, its part of a result in the output slot of that number; a slot is used again when all members have
// finished the chunk that stood there. Collectives of one group pass in the order of their submission, each in its
// turn; other groups have channels of their own, so there is nothing to wait for in a circle.
//
// Not thread-safe within a process: the engine's lock protects it.
#pragma once

#include <mpi.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../operation.h"
#include "../ticket.h"
#include "memory.h"

namespace mfugaku::comm {

class Channel {
 public:
  static constexpr int kMaxMembers = 256;
  static constexpr uint64_t kNumSlots = 8;
  static constexpr int64_t kSlotBytes = 256 * 1024;

  // Runs a stage as an operation of the group until it is over.
  using Run = std::function<void(Operation::Stage)>;

  // Collective over the members of `comm`. Null when they are not all on one node, when one of them does not wish it,
  // or when the system does not let them share memory; the latter is said once per process.
  static std::shared_ptr<Channel> connect(MPI_Comm comm, int rank, int size, bool is_wanted, const Run& run);
  // A channel over zeroed memory of segment_bytes(size) for each member, which outlives it; members may be threads of
  // one process. `arenas` and `processes` by member, or empty.
  static std::shared_ptr<Channel> over(int rank, const std::vector<char*>& segments, std::vector<char*> arenas,
                                       std::vector<int32_t> processes);
  static size_t segment_bytes(int size);

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(segments_.size()); }
  // Largest multiple of 256 bytes of which an input slot holds one for each member; the size of an output slot.
  int64_t section_bytes() const { return section_bytes_; }

  // The order of collectives.
  uint64_t take_turn() { return num_turns_++; }
  bool has_turn(uint64_t turn) const { return turn == num_turns_over_; }
  void end_turn(uint64_t next_chunk) { next_chunk_ = next_chunk, ++num_turns_over_; }
  uint64_t next_chunk() const { return next_chunk_; }
  // After an error the members no longer agree on the chunks: later collectives are to fail with this reason, here and
  // on the other members, which look for it while they wait.
  void break_off(const std::string& reason);
  void look_for_failures();
  const std::string& failure() const { return failure_; }

  // Slots. Others' may be read when they have posted, one's own written when the chunk's slot is free.
  char* input(int member, uint64_t chunk) const { return slot(member, chunk) + sizeof(SlotHeader); }
  char* output(int member, uint64_t chunk) const { return output_slot(member, chunk) + sizeof(SlotHeader); }
  bool is_free(uint64_t chunk);
  void set_ticket(uint64_t chunk, const Ticket& ticket) { header(rank_, chunk).ticket = ticket; }
  const Ticket& ticket(int member, uint64_t chunk) const { return header(member, chunk).ticket; }

  // Where a member's arena begins in this process; null for all when not every member can reach every other's.
  char* arena(int member) const { return arenas_.empty() ? nullptr : arenas_[static_cast<size_t>(member)]; }
  bool has_arenas() const { return !arenas_.empty(); }
  // The process to read a member's other memory from, where every member can read every other's.
  int32_t process(int member) const { return processes_[static_cast<size_t>(member)]; }
  bool can_read_remotely() const { return !processes_.empty(); }

  // Progress of one's own, and whether others have got as far.
  void post(uint64_t chunk) { header(rank_, chunk).stamp.store(chunk + 1, std::memory_order_release); }
  bool has_posted(int member, uint64_t chunk) const { return is_stamped(header(member, chunk), chunk); }
  void publish(uint64_t chunk) { output_header(rank_, chunk).stamp.store(chunk + 1, std::memory_order_release); }
  bool has_published(int member, uint64_t chunk) const { return is_stamped(output_header(member, chunk), chunk); }
  void finish(uint64_t chunk) { finished(rank_).store(chunk + 1, std::memory_order_release); }

 private:
  struct SlotHeader {
    alignas(64) std::atomic<uint64_t> stamp;  // 1 + the number of the chunk that stands here
    Ticket ticket;
  };
  struct Failure {
    alignas(64) std::atomic<uint64_t> is_there;
    char reason[448];
  };
  static_assert(sizeof(SlotHeader) == 64 && std::atomic<uint64_t>::is_always_lock_free);
  static constexpr int64_t kFirstSlot = 4096;
  static constexpr int64_t kInputStride = kSlotBytes + 256;

  Channel(int rank, int size);
  static int64_t section_bytes_for(int size) { return kSlotBytes / size / 256 * 256; }
  char* slot(int member, uint64_t chunk) const {
    return data_[static_cast<size_t>(member)] + kFirstSlot + static_cast<int64_t>(chunk % kNumSlots) * kInputStride;
  }
  char* output_slot(int member, uint64_t chunk) const {
    return data_[static_cast<size_t>(member)] + kFirstSlot + kNumSlots * kInputStride +
           static_cast<int64_t>(chunk % kNumSlots) * (section_bytes_ + 256);
  }
  SlotHeader& header(int member, uint64_t chunk) const { return *reinterpret_cast<SlotHeader*>(slot(member, chunk)); }
  SlotHeader& output_header(int member, uint64_t chunk) const {
    return *reinterpret_cast<SlotHeader*>(output_slot(member, chunk));
  }
  std::atomic<uint64_t>& finished(int member) const {
    return *reinterpret_cast<std::atomic<uint64_t>*>(data_[static_cast<size_t>(member)]);
  }
  Failure& failure_of(int member) const {
    return *reinterpret_cast<Failure*>(data_[static_cast<size_t>(member)] + 64);
  }
  static bool is_stamped(const SlotHeader& header, uint64_t chunk) {
    return header.stamp.load(std::memory_order_acquire) > chunk;
  }

  int rank_;
  int64_t section_bytes_;
  std::vector<SharedMemory> segments_;
  std::vector<char*> data_;         // of the segments
  std::vector<char*> arenas_;
  std::vector<int32_t> processes_;
  uint64_t finished_by_all_ = 0;    // chunks; what was last seen
  uint64_t num_turns_ = 0, num_turns_over_ = 0, next_chunk_ = 0;
  std::string failure_;
};

}  // namespace mfugaku::comm
