// The flight recorder: what this rank's operations are, in a mapped file. Other processes read it while the job hangs,
// and after it died in whatever way, since the pages belong to the file and not to the process.
//
// The file is a header, a table of groups, and a ring of the latest operations; megatron_fugaku/flight/files.py reads
// it. Numbers are in this machine's byte order. Writing costs a few stores; nothing is ever flushed or locked for it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "operation.h"

namespace mfugaku::comm {

class Flight {
 public:
  enum class Ending : uint32_t { None = 0, Finalized = 1, Aborted = 2 };

  // Records into the file from now on; groups that exist already are in it. Throws std::runtime_error with the reason
  // when it cannot be made or mapped. Not thread-safe, like all of this: the engine's lock protects it.
  void open(const std::string& path, int rank, int size, int pid);
  bool is_open() const { return header_ != nullptr; }

  // Returns the number of the group, to be set in its operations.
  uint32_t add_group(const std::string& name, const std::vector<int>& mpi_ranks, int rank);
  void describe_group(const std::string& name, const std::string& description);

  // Sets `operation.flight_number`; the other two find the operation by it, if the ring still has it.
  void begin(Operation& operation);
  // That this rank is alive and waits for it.
  void wait(const Operation& operation, double time_s);
  void end(const Operation& operation);
  void finish(Ending ending);

 private:
  struct Header;
  struct GroupRecord;
  struct Slot;
  struct KnownGroup {
    std::string name, description, members;
    int size, rank;
  };

  void write_group(size_t number);
  Slot* find(uint64_t number) const;

  std::vector<KnownGroup> groups_;
  Header* header_ = nullptr;
  GroupRecord* group_records_ = nullptr;
  Slot* slots_ = nullptr;
};

}  // namespace mfugaku::comm
