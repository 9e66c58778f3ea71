// MPI's own blocking collectives, as any MPI program would call them: what `mfugaku bench comm` measures ours against.
#pragma once

#include <cstdint>
#include <memory>

#include "types.h"

namespace mfugaku::comm {

// A communicator over all processes. They hold the engine's lock while they wait, so nothing else proceeds meanwhile.
class StockMpi {
 public:
  StockMpi();  // collective over the job

  void all_reduce(void* data, int64_t count, DataType type);                              // MPI_Allreduce, MPI_SUM
  void reduce_scatter(const void* data, void* out, int64_t out_count, DataType type);     // MPI_Reduce_scatter_block
  void all_gather(const void* data, void* out, int64_t num_bytes);                        // MPI_Allgather
  void free();                                                                            // collective over the job

 private:
  struct Comm;  // an MPI_Comm, which this header does not know
  std::shared_ptr<Comm> comm_;
};

}  // namespace mfugaku::comm
