// The MPI calls of this program, counted on their way in and out: under MPI_THREAD_SERIALIZED no two threads may be
// inside MPI at the same time. Every function of MPI that the core calls is defined here through MPI's profiling
// interface; tests/csrc/test_comm_program.py sees to it that none is missing.
#include <mpi.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "program.h"

namespace mfugaku::tests {
namespace {

std::atomic<int> num_inside{0};
std::atomic<int64_t> num_entries{0}, num_concurrent{0};
// Not atomic, and the others relaxed: where two threads come here without a lock between them, ThreadSanitizer sees a
// race, even when they happen to come one after the other.
int64_t num_entries_unguarded = 0;

struct Entry {
  Entry() {
    if (num_inside.fetch_add(1, std::memory_order_relaxed) > 0) num_concurrent.fetch_add(1, std::memory_order_relaxed);
    num_entries.fetch_add(1, std::memory_order_relaxed);
    ++num_entries_unguarded;
  }
  ~Entry() { num_inside.fetch_sub(1, std::memory_order_relaxed); }
};

}  // namespace

void check_mpi_entries(const Options& options) {
  require(comm::Engine::instance().thread_level() == MPI_THREAD_SERIALIZED ||
              comm::Engine::instance().thread_level() == MPI_THREAD_MULTIPLE,
          "this MPI allows no threads");
  require(options.checks.size() == 1 || num_entries.load() > 1000, "too few calls of MPI to say anything");
  require(num_concurrent.load() == 0, std::to_string(num_concurrent.load()) + " of " +
                                          std::to_string(num_entries.load()) +
                                          " calls of MPI began while another thread was inside MPI");
}

}  // namespace mfugaku::tests

#define COUNTED(name, parameters, arguments)         \
  extern "C" int MPI_##name parameters {             \
    const mfugaku::tests::Entry entry;               \
    return PMPI_##name arguments;                    \
  }

COUNTED(Init_thread, (int* argc, char*** argv, int required, int* provided), (argc, argv, required, provided))
COUNTED(Finalize, (), ())
COUNTED(Initialized, (int* flag), (flag))
COUNTED(Finalized, (int* flag), (flag))
COUNTED(Query_thread, (int* provided), (provided))
COUNTED(Abort, (MPI_Comm comm, int code), (comm, code))
COUNTED(Error_string, (int code, char* text, int* length), (code, text, length))
COUNTED(Get_library_version, (char* text, int* length), (text, length))
COUNTED(Comm_dup, (MPI_Comm comm, MPI_Comm* out), (comm, out))
COUNTED(Comm_free, (MPI_Comm* comm), (comm))
COUNTED(Comm_rank, (MPI_Comm comm, int* rank), (comm, rank))
COUNTED(Comm_size, (MPI_Comm comm, int* size), (comm, size))
COUNTED(Comm_group, (MPI_Comm comm, MPI_Group* group), (comm, group))
COUNTED(Comm_get_attr, (MPI_Comm comm, int key, void* value, int* flag), (comm, key, value, flag))
COUNTED(Comm_create_keyval, (MPI_Comm_copy_attr_function* copy, MPI_Comm_delete_attr_function* remove, int* key,
                             void* state),
        (copy, remove, key, state))
COUNTED(Comm_set_attr, (MPI_Comm comm, int key, void* value), (comm, key, value))
COUNTED(Comm_free_keyval, (int* key), (key))
COUNTED(Comm_set_errhandler, (MPI_Comm comm, MPI_Errhandler handler), (comm, handler))
COUNTED(Comm_create_group, (MPI_Comm comm, MPI_Group group, int tag, MPI_Comm* out), (comm, group, tag, out))
COUNTED(Group_incl, (MPI_Group group, int n, const int ranks[], MPI_Group* out), (group, n, ranks, out))
COUNTED(Group_free, (MPI_Group* group), (group))
COUNTED(Isend, (const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request* request),
        (data, count, type, to, tag, comm, request))
COUNTED(Irecv, (void* data, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Request* request),
        (data, count, type, from, tag, comm, request))
COUNTED(Recv, (void* data, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Status* status),
        (data, count, type, from, tag, comm, status))
COUNTED(Iprobe, (int from, int tag, MPI_Comm comm, int* flag, MPI_Status* status), (from, tag, comm, flag, status))
COUNTED(Request_free, (MPI_Request* request), (request))
COUNTED(Testall, (int count, MPI_Request requests[], int* flag, MPI_Status* statuses),
        (count, requests, flag, statuses))
COUNTED(Testsome, (int count, MPI_Request requests[], int* num_done, int indices[], MPI_Status statuses[]),
        (count, requests, num_done, indices, statuses))
COUNTED(Waitany, (int count, MPI_Request requests[], int* index, MPI_Status* status), (count, requests, index, status))
COUNTED(Get_count, (const MPI_Status* status, MPI_Datatype type, int* count), (status, type, count))
COUNTED(Ibarrier, (MPI_Comm comm, MPI_Request* request), (comm, request))
COUNTED(Ibcast, (void* data, int count, MPI_Datatype type, int root, MPI_Comm comm, MPI_Request* request),
        (data, count, type, root, comm, request))
COUNTED(Iallgather, (const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count,
                     MPI_Datatype out_type, MPI_Comm comm, MPI_Request* request),
        (in, in_count, in_type, out, out_count, out_type, comm, request))
COUNTED(Iallreduce, (const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                     MPI_Request* request),
        (in, out, count, type, op, comm, request))
COUNTED(Ireduce, (const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm,
                  MPI_Request* request),
        (in, out, count, type, op, root, comm, request))
COUNTED(Ireduce_scatter_block, (const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                                MPI_Request* request),
        (in, out, count, type, op, comm, request))
COUNTED(Allgather, (const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count,
                    MPI_Datatype out_type, MPI_Comm comm),
        (in, in_count, in_type, out, out_count, out_type, comm))
COUNTED(Allreduce, (const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm),
        (in, out, count, type, op, comm))
COUNTED(Reduce_scatter_block, (const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm),
        (in, out, count, type, op, comm))
COUNTED(Get_processor_name, (char* name, int* length), (name, length))
COUNTED(Cancel, (MPI_Request* request), (request))
COUNTED(Send, (const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm),
        (data, count, type, to, tag, comm))
COUNTED(Barrier, (MPI_Comm comm), (comm))
COUNTED(Bcast, (void* data, int count, MPI_Datatype type, int root, MPI_Comm comm), (data, count, type, root, comm))
COUNTED(Reduce, (const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm),
        (in, out, count, type, op, root, comm))
COUNTED(Alltoall, (const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count,
                   MPI_Datatype out_type, MPI_Comm comm),
        (in, in_count, in_type, out, out_count, out_type, comm))
COUNTED(Gather, (const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count,
                 MPI_Datatype out_type, int root, MPI_Comm comm),
        (in, in_count, in_type, out, out_count, out_type, root, comm))
COUNTED(Scatter, (const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count,
                  MPI_Datatype out_type, int root, MPI_Comm comm),
        (in, in_count, in_type, out, out_count, out_type, root, comm))
