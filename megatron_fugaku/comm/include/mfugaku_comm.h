/* Collectives and messages over MPI and shared memory, for programs in C, Fortran or whatever else calls C. Neither
 * Python nor torch is needed.
 *
 *     mpicc program.c $(mfugaku comm flags) -o program
 *
 *     MPI_Init(&argc, &argv);
 *     mfugaku_comm_start();
 *     mfugaku_comm_group* group;
 *     mfugaku_comm_group_create(MPI_Comm_c2f(MPI_COMM_WORLD), "everybody", &group);
 *     if (mfugaku_comm_all_reduce(group, values, count, MFUGAKU_COMM_FLOAT32, MFUGAKU_COMM_SUM, NULL) != 0)
 *       fprintf(stderr, "%s\n", mfugaku_comm_last_error());
 *     mfugaku_comm_group_free(&group);
 *     MPI_Finalize();
 *
 * Functions return MFUGAKU_COMM_OK, which is 0, or another mfugaku_comm_status; mfugaku_comm_last_error() then says
 * what happened. No C++ exception leaves them. Communicators are given as MPI's Fortran handles, so nothing here
 * depends on which MPI it is; the library itself is built once for each binary interface of MPI.
 *
 * Threads: who may call MPI by the level that MPI was initialised with may call these functions, but for
 * mfugaku_comm_poke and mfugaku_comm_last_error, which any thread may call at any time.
 *
 * Collectives are begun in the same order by all members of a group, which must mean the same: another size, type or
 * reduction is an error on all members. Counts are in elements where a type is given and in bytes elsewhere. Where a
 * function has a last parameter `work`, it waits if that is NULL. Otherwise it begins, leaves the memory in use, and
 * gives back a handle that mfugaku_comm_wait or mfugaku_comm_test takes. After an error a group is good for nothing
 * more, and memory that was given to its operations may still be written to until MPI_Finalize. */
#ifndef MFUGAKU_COMM_H
#define MFUGAKU_COMM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MFUGAKU_COMM_API __attribute__((visibility("default")))

/* Raised when programs must be compiled again; what is only added does not raise it. */
#define MFUGAKU_COMM_ABI 1
MFUGAKU_COMM_API int mfugaku_comm_abi(void);
/* What the library was built with, and the MPI that is loaded, for people. */
MFUGAKU_COMM_API const char* mfugaku_comm_version(void);

enum mfugaku_comm_status {
  MFUGAKU_COMM_OK = 0,
  MFUGAKU_COMM_BAD_ARGUMENT = 1,  /* nothing was begun */
  MFUGAKU_COMM_FAILED = 2,        /* MPI refused, ranks disagree, or one did not come in time */
  MFUGAKU_COMM_NO_MEMORY = 3,
  MFUGAKU_COMM_FAULT = 4          /* anything else; a fault of this library */
};
/* Of the calling thread, about its last call that failed; valid until the next one that does. */
MFUGAKU_COMM_API const char* mfugaku_comm_last_error(void);

enum mfugaku_comm_type {
  MFUGAKU_COMM_FLOAT64 = 0, MFUGAKU_COMM_FLOAT32 = 1, MFUGAKU_COMM_FLOAT16 = 2, MFUGAKU_COMM_BFLOAT16 = 3,
  MFUGAKU_COMM_INT8 = 4, MFUGAKU_COMM_INT16 = 5, MFUGAKU_COMM_INT32 = 6, MFUGAKU_COMM_INT64 = 7,
  MFUGAKU_COMM_UINT8 = 8, MFUGAKU_COMM_UINT16 = 9, MFUGAKU_COMM_UINT32 = 10, MFUGAKU_COMM_UINT64 = 11,
  MFUGAKU_COMM_BOOL = 12,        /* of one byte; a sum is "any", a product "all" */
  MFUGAKU_COMM_COMPLEX64 = 13, MFUGAKU_COMM_COMPLEX128 = 14
};

enum mfugaku_comm_reduction {
  MFUGAKU_COMM_SUM = 0, MFUGAKU_COMM_AVERAGE = 1, MFUGAKU_COMM_PRODUCT = 2, MFUGAKU_COMM_MINIMUM = 3,
  MFUGAKU_COMM_MAXIMUM = 4, MFUGAKU_COMM_BIT_AND = 5, MFUGAKU_COMM_BIT_OR = 6, MFUGAKU_COMM_BIT_XOR = 7
};

enum mfugaku_comm_collective {
  MFUGAKU_COMM_ALL_REDUCE = 0, MFUGAKU_COMM_REDUCE_SCATTER = 1, MFUGAKU_COMM_ALL_GATHER = 2
};

/* The process. */

/* Sets what an environment variable would, and wins over it; before mfugaku_comm_start. Known are
 * MFUGAKU_COMM_TIMEOUT_S, _PROGRESS_THREAD, _PROGRESS_CORE, _TRANSPORT, _ALGORITHM, _RANKS_PER_NODE, _FLIGHT_DIR and
 * _ARENA_BYTES, with the values that `mfugaku` knows them with. Settings must be alike on all ranks. */
MFUGAKU_COMM_API int mfugaku_comm_set(const char* name, const char* value);
/* Whether what the environment and mfugaku_comm_set say can be understood and done. Calls no MPI, so a rank may ask for
 * itself: if mfugaku_comm_start failed on one rank alone, the others would wait. */
MFUGAKU_COMM_API int mfugaku_comm_check_settings(void);
/* Between MPI_Init and anything below, on all ranks of MPI_COMM_WORLD together. MPI_Finalize is the end of it. */
MFUGAKU_COMM_API int mfugaku_comm_start(void);
/* The algorithms of collectives between nodes, as in MFUGAKU_COMM_ALGORITHM. After mfugaku_comm_start, on all ranks
 * alike, and with no collective under way. */
MFUGAKU_COMM_API int mfugaku_comm_set_algorithms(const char* rules);
/* Drives what is under way a little, from any thread: for long computations between two of their parts. Ends nothing,
 * waits for nothing and costs a few tests. Does nothing where MPI was not initialised for calls from any thread. */
MFUGAKU_COMM_API void mfugaku_comm_poke(void);

/* Memory that the ranks of a node share: collectives on it copy least. NULL when there is none left. To be asked for
 * before the first group is created, and then at any time. */
MFUGAKU_COMM_API void* mfugaku_comm_allocate(int64_t num_bytes);
MFUGAKU_COMM_API void mfugaku_comm_release(void* memory);

/* Groups. */

typedef struct mfugaku_comm_group mfugaku_comm_group;

/* On all members of an intracommunicator together; their order is that of its ranks. All must be of MPI_COMM_WORLD and
 * give the same name, which is for people. The communicator itself is not used afterwards. */
MFUGAKU_COMM_API int mfugaku_comm_group_create(int mpi_comm_f, const char* name, mfugaku_comm_group** group);
/* On the members alone: ranks of MPI_COMM_WORLD in the order that they are to have, alike on all of them. */
MFUGAKU_COMM_API int mfugaku_comm_group_of_members(const int* world_ranks, int num_ranks, const char* name,
                                                   mfugaku_comm_group** group);
/* In the same order on all members; sets the handle to NULL. NULL is no error. */
MFUGAKU_COMM_API int mfugaku_comm_group_free(mfugaku_comm_group** group);
MFUGAKU_COMM_API int mfugaku_comm_group_rank(const mfugaku_comm_group* group, int* rank);
MFUGAKU_COMM_API int mfugaku_comm_group_size(const mfugaku_comm_group* group, int* size);
MFUGAKU_COMM_API int mfugaku_comm_group_shares_memory(const mfugaku_comm_group* group, int* shares_memory);
MFUGAKU_COMM_API int mfugaku_comm_group_set_timeout_s(mfugaku_comm_group* group, double seconds);
/* What sums of long float32 vectors travel as between nodes: FLOAT32, BFLOAT16 or FLOAT16. Alike on all members, before
 * there are collectives. */
MFUGAKU_COMM_API int mfugaku_comm_group_set_wire(mfugaku_comm_group* group, int type);
/* Whether a collective of a vector of `num_bytes` in equal blocks would go by MPI's own; the same on all members. */
MFUGAKU_COMM_API int mfugaku_comm_group_goes_by_mpi(const mfugaku_comm_group* group, int collective, int64_t num_bytes,
                                                    int type, int* goes_by_mpi);

/* Collectives. In- and output may overlap in any way. */

typedef struct mfugaku_comm_work mfugaku_comm_work;

/* In place. */
MFUGAKU_COMM_API int mfugaku_comm_all_reduce(mfugaku_comm_group* group, void* data, int64_t count, int type,
                                             int reduction, mfugaku_comm_work** work);
/* In place on the root; the others' data stays as it is. */
MFUGAKU_COMM_API int mfugaku_comm_reduce(mfugaku_comm_group* group, void* data, int64_t count, int type, int reduction,
                                         int root, mfugaku_comm_work** work);
/* `in` has a block of `count` elements for every rank, `out` receives that of this rank. */
MFUGAKU_COMM_API int mfugaku_comm_reduce_scatter(mfugaku_comm_group* group, const void* in, void* out, int64_t count,
                                                 int type, int reduction, mfugaku_comm_work** work);
/* `num_bytes` of every rank, one block after the other. */
MFUGAKU_COMM_API int mfugaku_comm_all_gather(mfugaku_comm_group* group, const void* in, void* out, int64_t num_bytes,
                                             mfugaku_comm_work** work);
MFUGAKU_COMM_API int mfugaku_comm_broadcast(mfugaku_comm_group* group, void* data, int64_t num_bytes, int root,
                                            mfugaku_comm_work** work);
/* `in` has a block of `num_bytes` for every rank, `out` receives one from every rank. */
MFUGAKU_COMM_API int mfugaku_comm_all_to_all(mfugaku_comm_group* group, const void* in, void* out, int64_t num_bytes,
                                             mfugaku_comm_work** work);
/* `out` is needed on the root only. */
MFUGAKU_COMM_API int mfugaku_comm_gather(mfugaku_comm_group* group, const void* in, void* out, int64_t num_bytes,
                                         int root, mfugaku_comm_work** work);
/* `in` is needed on the root only. */
MFUGAKU_COMM_API int mfugaku_comm_scatter(mfugaku_comm_group* group, const void* in, void* out, int64_t num_bytes,
                                          int root, mfugaku_comm_work** work);
MFUGAKU_COMM_API int mfugaku_comm_barrier(mfugaku_comm_group* group, mfugaku_comm_work** work);

/* Messages, of tags from 0 to 16383. A message must have the length that its receiver expects. */
MFUGAKU_COMM_API int mfugaku_comm_send(mfugaku_comm_group* group, const void* data, int64_t num_bytes, int to, int tag,
                                       mfugaku_comm_work** work);
MFUGAKU_COMM_API int mfugaku_comm_receive(mfugaku_comm_group* group, void* data, int64_t num_bytes, int from, int tag,
                                          mfugaku_comm_work** work);

/* Waiting. Whoever waits for one operation drives all of them. The handle is NULL afterwards, also after a failure; a
 * NULL handle is over already. */
MFUGAKU_COMM_API int mfugaku_comm_wait(mfugaku_comm_work** work);
MFUGAKU_COMM_API int mfugaku_comm_wait_all(mfugaku_comm_work** works, int num_works);
/* Sets `is_done`, and the handle to NULL when it is. */
MFUGAKU_COMM_API int mfugaku_comm_test(mfugaku_comm_work** work, int* is_done);

#ifdef __cplusplus
}
#endif
#endif
