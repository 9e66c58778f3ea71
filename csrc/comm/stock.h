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
  void broadcast(void* data, int64_t num_bytes, int root);                                // MPI_Bcast
  void reduce(void* data, int64_t count, DataType type, int root);                        // MPI_Reduce, MPI_SUM
  void all_to_all(const void* data, void* out, int64_t piece_bytes);                      // MPI_Alltoall
  void gather(const void* data, void* out, int64_t num_bytes, int root);                  // MPI_Gather
  void scatter(const void* data, void* out, int64_t num_bytes, int root);                 // MPI_Scatter
  void send(const void* data, int64_t num_bytes, int to);                                 // MPI_Send
  void receive(void* data, int64_t num_bytes, int from);                                  // MPI_Recv
  void barrier();                                                                         // MPI_Barrier
  void free();                                                                            // collective over the job

 private:
  struct Comm;  // an MPI_Comm, which this header does not know
  std::shared_ptr<Comm> comm_;
};

}  // namespace mfugaku::comm
