// Which collectives of which communicators are served, and by which group of ours.
//
// Everything that decides is alike on all members, or is agreed on by them: otherwise one of them would be in MPI's
// collective and another in ours.
#pragma once

#include <mpi.h>

#include <atomic>
#include <cstdint>

#include "mfugaku_comm.h"

namespace mfugaku::preload {

// What a program's three collectives came to, for the report at the end.
struct Count {
  std::atomic<int64_t> num_calls{0}, num_served{0}, num_bytes_served{0};
};
Count& count_of(mfugaku_comm_collective collective);

// After MPI_Init, on all ranks: starts ours, unless one of them cannot. Never fails.
void start();
// Before MPI_Finalize: what MFUGAKU_PRELOAD_REPORT asks for.
void report();

// The group that is to carry a collective of so many bytes in all blocks together, or null where MPI is to.
mfugaku_comm_group* group_for(MPI_Comm comm, mfugaku_comm_collective collective, int64_t num_bytes, int type);

// Whether this thread is in MPI for our own sake: collectives that it calls there are none of the program's.
class Inside {
 public:
  Inside() { ++depth; }
  ~Inside() { --depth; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  static bool is_inside() { return depth > 0; }

 private:
  static thread_local int depth;
};

}  // namespace mfugaku::preload
