// MPI_Allreduce, MPI_Reduce_scatter_block and MPI_Allgather of any program, through MPI's profiling interface: this
// library stands before MPI's, carries out what ours does faster, and gives the rest to MPI by PMPI_*.
//
//     mpirun -n 4 env LD_PRELOAD=$(mfugaku comm preload) program
//
// Served are communicators of one group within MPI_COMM_WORLD whose members share a node, or any of them when
// MFUGAKU_COMM_ALGORITHM says how; predefined types and operations of integers and of float and double, complex ones
// too; at any level of threads, with MPI_IN_PLACE or without. Everything else is MPI's, and so is what never comes
// here: nonblocking collectives, and those of Fortran where the MPI does not carry them out through its C functions, as
// Open MPI. All ranks of MPI_COMM_WORLD must have the library, or none.
#include <mpi.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "communicator.h"
#include "types.h"

#define INTERPOSED extern "C" __attribute__((visibility("default"))) int

namespace mfugaku::preload {
namespace {

// What a call of ours came to, in the program's terms.
int outcome_of(int status, const char* call, MPI_Comm comm) {
  if (status == MFUGAKU_COMM_OK) return MPI_SUCCESS;
  std::fprintf(stderr, "mfugaku preload: %s: %s\n", call, mfugaku_comm_last_error());
  std::fflush(stderr);
  PMPI_Comm_call_errhandler(comm, MPI_ERR_OTHER);
  return MPI_ERR_OTHER;
}

// Memory of a call in which the elements of the program's type lie in a row.
class Row {
 public:
  explicit Row(int64_t num_bytes) : memory_(static_cast<char*>(std::malloc(static_cast<size_t>(num_bytes) + 1))) {}
  ~Row() { std::free(memory_); }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  char* memory() const { return memory_; }

 private:
  char* memory_;
};

int64_t size_of_group(MPI_Comm comm) {
  int size = 0;
  PMPI_Comm_size(comm, &size);
  return size;
}

// Only the bytes that are sent must be alike on all ranks: one may have them in a row while another has gaps between
// them, and all must go the same way. So gaps are packed.
int all_gather(const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count, MPI_Datatype out_type,
               int64_t block, int64_t size, MPI_Comm comm, mfugaku_comm_group* group) {
  int rank = 0;
  PMPI_Comm_rank(comm, &rank);
  MPI_Aint begin = 0, extent = 0;
  PMPI_Type_get_extent(out_type, &begin, &extent);
  const MPI_Aint out_block = out_count * extent;
  const bool is_out_plain = is_plain(out_type), is_in_place = in == MPI_IN_PLACE;
  const bool is_in_plain = !is_in_place && is_plain(in_type);
  // In place without gaps there is nothing to copy.
  Row row(is_out_plain ? 0 : block * size), own(is_in_plain || (is_in_place && is_out_plain) ? 0 : block);
  if (row.memory() == nullptr || own.memory() == nullptr) std::abort();  // the others are on their way
  char* target = is_out_plain ? static_cast<char*>(out) : row.memory();
  const void* source = in;
  int place = 0;
  if (is_in_place && is_out_plain) {
    source = target + rank * block;
  } else if (!is_in_plain) {
    const void* from = is_in_place ? static_cast<char*>(out) + rank * out_block : in;
    PMPI_Pack(from, is_in_place ? out_count : in_count, is_in_place ? out_type : in_type, own.memory(),
              static_cast<int>(block), &place, comm);
    source = own.memory();
  }
  const int status = mfugaku_comm_all_gather(group, source, target, block, nullptr);
  if (status == MFUGAKU_COMM_OK && !is_out_plain) {
    // Block by block: all together may have more bytes than MPI counts.
    for (int64_t r = 0; r < size; ++r) {
      place = 0;
      PMPI_Unpack(row.memory() + r * block, static_cast<int>(block), &place, static_cast<char*>(out) + r * out_block,
                  out_count, out_type, comm);
    }
  }
  return outcome_of(status, "MPI_Allgather", comm);
}

}  // namespace
}  // namespace mfugaku::preload

using namespace mfugaku::preload;

INTERPOSED MPI_Init(int* argc, char*** argv) {
  const int code = PMPI_Init(argc, argv);
  if (code == MPI_SUCCESS) start();
  return code;
}

INTERPOSED MPI_Init_thread(int* argc, char*** argv, int required, int* provided) {
  const int code = PMPI_Init_thread(argc, argv, required, provided);
  if (code == MPI_SUCCESS) start();
  return code;
}

INTERPOSED MPI_Finalize() {
  report();
  return PMPI_Finalize();
}

INTERPOSED MPI_Allreduce(const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
  const Reduction reduction = Inside::is_inside() ? Reduction{} : reduction_of(type, op);
  const int64_t num_bytes = count * reduction.element_bytes;
  mfugaku_comm_group* group =
      reduction ? group_for(comm, MFUGAKU_COMM_ALL_REDUCE, num_bytes, reduction.type) : nullptr;
  if (group == nullptr) return PMPI_Allreduce(in, out, count, type, op, comm);
  const Inside inside;
  if (in != MPI_IN_PLACE && in != out) std::memcpy(out, in, static_cast<size_t>(num_bytes));
  return outcome_of(mfugaku_comm_all_reduce(group, out, count, reduction.type, reduction.reduction, nullptr),
                    "MPI_Allreduce", comm);
}

INTERPOSED MPI_Reduce_scatter_block(const void* in, void* out, int count, MPI_Datatype type, MPI_Op op,
                                    MPI_Comm comm) {
  const Reduction reduction = Inside::is_inside() ? Reduction{} : reduction_of(type, op);
  mfugaku_comm_group* group =
      reduction ? group_for(comm, MFUGAKU_COMM_REDUCE_SCATTER, size_of_group(comm) * count * reduction.element_bytes,
                            reduction.type)
                : nullptr;
  if (group == nullptr) return PMPI_Reduce_scatter_block(in, out, count, type, op, comm);
  const Inside inside;
  return outcome_of(mfugaku_comm_reduce_scatter(group, in == MPI_IN_PLACE ? out : in, out, count, reduction.type,
                                                reduction.reduction, nullptr),
                    "MPI_Reduce_scatter_block", comm);
}

INTERPOSED MPI_Allgather(const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count,
                         MPI_Datatype out_type, MPI_Comm comm) {
  int element_bytes = 0;
  int64_t size = 0;
  mfugaku_comm_group* group = nullptr;
  if (!Inside::is_inside() && out_type != MPI_DATATYPE_NULL && out_count > 0 &&
      PMPI_Type_size(out_type, &element_bytes) == MPI_SUCCESS && int64_t{element_bytes} * out_count <= INT_MAX) {
    size = size_of_group(comm);
    group = group_for(comm, MFUGAKU_COMM_ALL_GATHER, int64_t{element_bytes} * out_count * size, MFUGAKU_COMM_UINT8);
  }
  if (group == nullptr) return PMPI_Allgather(in, in_count, in_type, out, out_count, out_type, comm);
  const Inside inside;
  return all_gather(in, in_count, in_type, out, out_count, out_type, int64_t{element_bytes} * out_count, size, comm,
                    group);
}
