/* A program in C that uses mfugaku_comm.h as any other would: every function, checked against MPI's own collectives.
 * `program` runs all checks; `program late` begins a collective that its last rank never comes to. */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mfugaku_comm.h"

static int rank, size;

#define REQUIRE(condition)                                                                            \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      fprintf(stderr, "rank %d, line %d: %s; last error: %s\n", rank, __LINE__, #condition,          \
              mfugaku_comm_last_error());                                                             \
      MPI_Abort(MPI_COMM_WORLD, 1);                                                                   \
    }                                                                                                 \
  } while (0)
#define OK(call) REQUIRE((call) == MFUGAKU_COMM_OK)
#define REFUSED(call, words)                                                                          \
  REQUIRE((call) == MFUGAKU_COMM_BAD_ARGUMENT && strstr(mfugaku_comm_last_error(), words) != NULL)

/* Small whole numbers, so that sums and products are exact in every type. */
static int value_of(int member, int64_t i) { return 1 + (int)((member * 7 + i * 3) % 5); }

static const struct {
  int ours, bytes;
  char kind; /* i, u, f, c */
} types[] = {{MFUGAKU_COMM_FLOAT64, 8, 'f'}, {MFUGAKU_COMM_FLOAT32, 4, 'f'}, {MFUGAKU_COMM_INT8, 1, 'i'},
             {MFUGAKU_COMM_INT16, 2, 'i'},   {MFUGAKU_COMM_INT32, 4, 'i'},   {MFUGAKU_COMM_INT64, 8, 'i'},
             {MFUGAKU_COMM_UINT8, 1, 'u'},   {MFUGAKU_COMM_UINT16, 2, 'u'},  {MFUGAKU_COMM_UINT32, 4, 'u'},
             {MFUGAKU_COMM_UINT64, 8, 'u'},  {MFUGAKU_COMM_COMPLEX64, 8, 'c'}, {MFUGAKU_COMM_COMPLEX128, 16, 'c'}};
enum { NUM_TYPES = sizeof(types) / sizeof(types[0]) };

static MPI_Datatype mpi_type_of(int type) {
  switch (type) {
    case MFUGAKU_COMM_FLOAT64: return MPI_DOUBLE;
    case MFUGAKU_COMM_FLOAT32: return MPI_FLOAT;
    case MFUGAKU_COMM_INT8: return MPI_INT8_T;
    case MFUGAKU_COMM_INT16: return MPI_INT16_T;
    case MFUGAKU_COMM_INT32: return MPI_INT32_T;
    case MFUGAKU_COMM_INT64: return MPI_INT64_T;
    case MFUGAKU_COMM_UINT8: return MPI_UINT8_T;
    case MFUGAKU_COMM_UINT16: return MPI_UINT16_T;
    case MFUGAKU_COMM_UINT32: return MPI_UINT32_T;
    case MFUGAKU_COMM_UINT64: return MPI_UINT64_T;
    case MFUGAKU_COMM_COMPLEX64: return MPI_C_FLOAT_COMPLEX;
    default: return MPI_C_DOUBLE_COMPLEX;
  }
}

static MPI_Op mpi_op_of(int reduction) {
  switch (reduction) {
    case MFUGAKU_COMM_SUM: return MPI_SUM;
    case MFUGAKU_COMM_PRODUCT: return MPI_PROD;
    case MFUGAKU_COMM_MINIMUM: return MPI_MIN;
    case MFUGAKU_COMM_MAXIMUM: return MPI_MAX;
    case MFUGAKU_COMM_BIT_AND: return MPI_BAND;
    case MFUGAKU_COMM_BIT_OR: return MPI_BOR;
    default: return MPI_BXOR;
  }
}

static int is_defined(char kind, int reduction) {
  if (reduction == MFUGAKU_COMM_AVERAGE) return 0; /* MPI has none; it is checked apart */
  if (reduction == MFUGAKU_COMM_SUM || reduction == MFUGAKU_COMM_PRODUCT) return 1;
  if (reduction == MFUGAKU_COMM_MINIMUM || reduction == MFUGAKU_COMM_MAXIMUM) return kind != 'c';
  return kind == 'i' || kind == 'u';
}

/* Exactly so many bytes, so that an AddressSanitizer sees any step beside them. */
static void* filled(int type, int64_t count, int member) {
  const int bytes = types[type].bytes;
  char* data = malloc((size_t)(count > 0 ? count * bytes : 1));
  REQUIRE(data != NULL);
  for (int64_t i = 0; i < count; ++i) {
    const int value = value_of(member, i);
    char* place = data + i * bytes;
    memset(place, 0, (size_t)bytes);
    if (types[type].ours == MFUGAKU_COMM_FLOAT64 || types[type].ours == MFUGAKU_COMM_COMPLEX128)
      memcpy(place, &(double){value}, 8);
    else if (types[type].ours == MFUGAKU_COMM_FLOAT32 || types[type].ours == MFUGAKU_COMM_COMPLEX64)
      memcpy(place, &(float){(float)value}, 4);
    else
      memcpy(place, &(int64_t){value}, (size_t)bytes); /* little-endian, as all that this runs on */
  }
  return data;
}

static void* zeros(int64_t num_bytes) {
  void* data = calloc(1, (size_t)(num_bytes > 0 ? num_bytes : 1));
  REQUIRE(data != NULL);
  return data;
}

static void check_reductions(mfugaku_comm_group* group, MPI_Comm comm, int64_t count) {
  int member, members;
  OK(mfugaku_comm_group_rank(group, &member));
  OK(mfugaku_comm_group_size(group, &members));
  for (int type = 0; type < NUM_TYPES; ++type)
    for (int reduction = 0; reduction <= MFUGAKU_COMM_BIT_XOR; ++reduction) {
      if (!is_defined(types[type].kind, reduction)) continue;
      const size_t bytes = (size_t)(count * types[type].bytes);
      const MPI_Datatype mpi_type = mpi_type_of(types[type].ours);
      void *ours = filled(type, count, member), *theirs = filled(type, count, member);
      OK(mfugaku_comm_all_reduce(group, ours, count, types[type].ours, reduction, NULL));
      MPI_Allreduce(MPI_IN_PLACE, theirs, (int)count, mpi_type, mpi_op_of(reduction), comm);
      REQUIRE(memcmp(ours, theirs, bytes) == 0);
      free(ours);
      free(theirs);

      void *in = filled(type, count * members, member), *out = zeros((int64_t)bytes), *expected = zeros((int64_t)bytes);
      OK(mfugaku_comm_reduce_scatter(group, in, out, count, types[type].ours, reduction, NULL));
      MPI_Reduce_scatter_block(in, expected, (int)count, mpi_type, mpi_op_of(reduction), comm);
      REQUIRE(memcmp(out, expected, bytes) == 0);
      free(out);

      const int root = (type + reduction) % members;
      void* data = filled(type, count, member);
      OK(mfugaku_comm_reduce(group, data, count, types[type].ours, reduction, root, NULL));
      MPI_Reduce(in, expected, (int)count, mpi_type, mpi_op_of(reduction), root, comm);
      REQUIRE(memcmp(data, member == root ? expected : in, bytes) == 0);
      free(data);
      free(in);
      free(expected);
    }
}

static void check_averages(mfugaku_comm_group* group) {
  float values[3] = {1.0f + (float)rank, 0.25f, -2.0f};
  OK(mfugaku_comm_all_reduce(group, values, 3, MFUGAKU_COMM_FLOAT32, MFUGAKU_COMM_AVERAGE, NULL));
  REQUIRE(fabsf(values[0] - (1.0f + (float)(size - 1) / 2)) < 1e-6f && fabsf(values[1] - 0.25f) < 1e-6f);
  uint16_t halves[2] = {0x3f80, 0x4000}; /* 1 and 2 as bfloat16 */
  OK(mfugaku_comm_all_reduce(group, halves, 2, MFUGAKU_COMM_BFLOAT16, MFUGAKU_COMM_AVERAGE, NULL));
  REQUIRE(halves[0] == 0x3f80 && halves[1] == 0x4000);
  unsigned char truth = rank == 0;
  OK(mfugaku_comm_all_reduce(group, &truth, 1, MFUGAKU_COMM_BOOL, MFUGAKU_COMM_SUM, NULL));
  REQUIRE(truth == 1);
}

static void check_moves(mfugaku_comm_group* group, MPI_Comm comm, int64_t num_bytes) {
  int member, members;
  OK(mfugaku_comm_group_rank(group, &member));
  OK(mfugaku_comm_group_size(group, &members));
  enum { BYTES = 6 };
  const int n = (int)num_bytes, root = members - 1;
  char *in = filled(BYTES, num_bytes * members, member), *out = zeros(num_bytes * members);
  char* expected = zeros(num_bytes * members);
  OK(mfugaku_comm_all_gather(group, in, out, num_bytes, NULL));
  MPI_Allgather(in, n, MPI_BYTE, expected, n, MPI_BYTE, comm);
  REQUIRE(memcmp(out, expected, (size_t)(num_bytes * members)) == 0);
  OK(mfugaku_comm_all_to_all(group, in, out, num_bytes, NULL));
  MPI_Alltoall(in, n, MPI_BYTE, expected, n, MPI_BYTE, comm);
  REQUIRE(memcmp(out, expected, (size_t)(num_bytes * members)) == 0);
  OK(mfugaku_comm_gather(group, in, member == root ? out : NULL, num_bytes, root, NULL));
  MPI_Gather(in, n, MPI_BYTE, expected, n, MPI_BYTE, root, comm);
  REQUIRE(memcmp(out, expected, (size_t)(num_bytes * members)) == 0);
  OK(mfugaku_comm_scatter(group, member == root ? in : NULL, out, num_bytes, root, NULL));
  MPI_Scatter(in, n, MPI_BYTE, expected, n, MPI_BYTE, root, comm);
  REQUIRE(memcmp(out, expected, (size_t)num_bytes) == 0);
  OK(mfugaku_comm_broadcast(group, out, num_bytes, root, NULL));
  MPI_Bcast(expected, n, MPI_BYTE, root, comm);
  REQUIRE(memcmp(out, expected, (size_t)num_bytes) == 0);
  const int next = (member + 1) % members, before = (member + members - 1) % members;
  mfugaku_comm_work* works[2];
  OK(mfugaku_comm_send(group, in, num_bytes, next, 16383, &works[0]));
  OK(mfugaku_comm_receive(group, out, num_bytes, before, 16383, &works[1]));
  OK(mfugaku_comm_wait_all(works, 2));
  REQUIRE(works[0] == NULL && works[1] == NULL);
  MPI_Sendrecv(in, n, MPI_BYTE, next, 0, expected, n, MPI_BYTE, before, 0, comm, MPI_STATUS_IGNORE);
  REQUIRE(memcmp(out, expected, (size_t)num_bytes) == 0);
  free(in);
  free(out);
  free(expected);
  OK(mfugaku_comm_barrier(group, NULL));
}

/* Several under way together, waited for in another order, and found to be over by asking. */
static void check_works(mfugaku_comm_group* group) {
  enum { NUM = 5, COUNT = 30000 };
  static int32_t values[NUM][COUNT];
  mfugaku_comm_work* works[NUM];
  for (int i = 0; i < NUM; ++i) {
    for (int j = 0; j < COUNT; ++j) values[i][j] = rank + i + j;
    OK(mfugaku_comm_all_reduce(group, values[i], COUNT, MFUGAKU_COMM_INT32, MFUGAKU_COMM_MAXIMUM, &works[i]));
  }
  mfugaku_comm_poke();
  OK(mfugaku_comm_wait(&works[3]));
  for (int i = 0; i < NUM; ++i) {
    int is_done = 0;
    while (!is_done) OK(mfugaku_comm_test(&works[i], &is_done));
    REQUIRE(works[i] == NULL);
    for (int j = 0; j < COUNT; ++j) REQUIRE(values[i][j] == size - 1 + i + j);
  }
}

/* The last rank waits in MPI for a long message whose sender is in a collective of ours: that must drive MPI too. */
static void check_that_mpi_goes_on(mfugaku_comm_group* group) {
  const int count = 1 << 20, last = size - 1;
  int* message = zeros(4 * count);
  int value = 1;
  MPI_Request request;
  if (rank == 0) MPI_Isend(message, count, MPI_INT, last, 5, MPI_COMM_WORLD, &request);
  if (rank == last) MPI_Recv(message, count, MPI_INT, 0, 5, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  OK(mfugaku_comm_all_reduce(group, &value, 1, MFUGAKU_COMM_INT32, MFUGAKU_COMM_SUM, NULL));
  REQUIRE(value == size);
  if (rank == 0) MPI_Wait(&request, MPI_STATUS_IGNORE);
  free(message);
}

static void check_shared_memory(mfugaku_comm_group* group) {
  const int64_t count = 1 << 18;
  double* values = mfugaku_comm_allocate(count * 8);
  REQUIRE(values != NULL);
  for (int64_t i = 0; i < count; ++i) values[i] = rank + (double)i;
  OK(mfugaku_comm_all_reduce(group, values, count, MFUGAKU_COMM_FLOAT64, MFUGAKU_COMM_SUM, NULL));
  for (int64_t i = 0; i < count; ++i) REQUIRE(values[i] == (double)size * (double)i + size * (size - 1) / 2.0);
  mfugaku_comm_release(values);
  mfugaku_comm_release(NULL);
}

static void check_misuse(mfugaku_comm_group* group) {
  mfugaku_comm_group* other = NULL;
  mfugaku_comm_work* work = NULL;
  int answer;
  const int twice[] = {0, 0}, beyond[] = {0, 4096}, without_me[] = {(rank + 1) % size};
  REFUSED(mfugaku_comm_all_reduce(NULL, &answer, 1, MFUGAKU_COMM_INT32, MFUGAKU_COMM_SUM, NULL), "group is NULL");
  REFUSED(mfugaku_comm_all_reduce(group, NULL, 1, MFUGAKU_COMM_INT32, MFUGAKU_COMM_SUM, NULL), "memory is NULL");
  REFUSED(mfugaku_comm_all_reduce(group, &answer, -1, MFUGAKU_COMM_INT32, MFUGAKU_COMM_SUM, NULL), "below 0");
  REFUSED(mfugaku_comm_all_reduce(group, &answer, 1, 99, MFUGAKU_COMM_SUM, &work), "none of mfugaku_comm_type");
  REFUSED(mfugaku_comm_all_reduce(group, &answer, 1, MFUGAKU_COMM_INT32, 99, &work), "the reduction is none");
  REFUSED(mfugaku_comm_all_reduce(group, &answer, 1, MFUGAKU_COMM_FLOAT32, MFUGAKU_COMM_BIT_OR, &work), "BOR");
  REQUIRE(work == NULL);
  REFUSED(mfugaku_comm_broadcast(group, &answer, 4, size, NULL), "root");
  REFUSED(mfugaku_comm_send(group, &answer, 4, size, 0, NULL), "not in group");
  REFUSED(mfugaku_comm_group_create(MPI_Comm_c2f(MPI_COMM_NULL), "x", &other), "MPI_COMM_NULL");
  REFUSED(mfugaku_comm_group_create(MPI_Comm_c2f(MPI_COMM_SELF), NULL, &other), "name");
  REFUSED(mfugaku_comm_group_of_members(twice, 2, "x", &other), "twice");
  REFUSED(mfugaku_comm_group_of_members(beyond, 2, "x", &other), "not in MPI_COMM_WORLD");
  if (size > 1) REFUSED(mfugaku_comm_group_of_members(without_me, 1, "x", &other), "not among the members");
  REFUSED(mfugaku_comm_set("MFUGAKU_COMM_TIMEOUT_S", "1"), "called already");
  REFUSED(mfugaku_comm_set_algorithms("all=telepathy"), "telepathy");
  REFUSED(mfugaku_comm_group_set_wire(group, MFUGAKU_COMM_INT8), "float32, float16 or bfloat16");
  REFUSED(mfugaku_comm_group_goes_by_mpi(group, 17, 1, MFUGAKU_COMM_INT8, &answer), "collective");
  OK(mfugaku_comm_wait(&work));
  OK(mfugaku_comm_group_free(&other));
}

/* All begin, but one: the others are told after their time. */
static void be_late(mfugaku_comm_group* group) {
  int value = 0;
  OK(mfugaku_comm_group_set_timeout_s(group, 0.5));
  if (rank == size - 1) {
    sleep(2);
    return;
  }
  REQUIRE(mfugaku_comm_barrier(group, NULL) == MFUGAKU_COMM_FAILED);
  REQUIRE(strstr(mfugaku_comm_last_error(), "did not finish within the timeout of 0.5 s") != NULL);
  REQUIRE(strstr(mfugaku_comm_last_error(), "group 'everybody'") != NULL);
  (void)value;
  printf("told: %s\n", mfugaku_comm_last_error());
}

int main(int argc, char** argv) {
  mfugaku_comm_group *everybody, *half, *backwards;
  REQUIRE(mfugaku_comm_abi() == MFUGAKU_COMM_ABI);
  REFUSED(mfugaku_comm_start(), "MPI_Init was not called yet");
  REFUSED(mfugaku_comm_set("MFUGAKU_COMM_COLOUR", "red"), "no setting is called");
  OK(mfugaku_comm_set("MFUGAKU_COMM_TIMEOUT_S", "soon"));
  REFUSED(mfugaku_comm_check_settings(), "MFUGAKU_COMM_TIMEOUT_S='soon' is no number of seconds");
  OK(mfugaku_comm_set("MFUGAKU_COMM_TIMEOUT_S", "60"));
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  REQUIRE(mfugaku_comm_group_create(MPI_Comm_c2f(MPI_COMM_WORLD), "early", &everybody) == MFUGAKU_COMM_FAILED);
  OK(mfugaku_comm_start());
  OK(mfugaku_comm_start());
  OK(mfugaku_comm_group_create(MPI_Comm_c2f(MPI_COMM_WORLD), "everybody", &everybody));
  if (argc > 1 && strcmp(argv[1], "late") == 0) {
    be_late(everybody);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return 0;
  }

  MPI_Comm parity, reversed;
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &parity);
  MPI_Comm_split(MPI_COMM_WORLD, 0, -rank, &reversed);
  OK(mfugaku_comm_group_create(MPI_Comm_c2f(parity), "of one parity", &half));
  int* ranks = zeros(4 * size);
  for (int i = 0; i < size; ++i) ranks[i] = size - 1 - i;
  OK(mfugaku_comm_group_of_members(ranks, size, "backwards", &backwards));
  free(ranks);

  const int64_t counts[] = {0, 1, 33, 20000, 300000};
  for (int i = 0; i < 4; ++i) check_reductions(everybody, MPI_COMM_WORLD, counts[i]);
  check_reductions(half, parity, 777);
  check_reductions(backwards, reversed, 778);
  for (int i = 0; i < 5; ++i) check_moves(everybody, MPI_COMM_WORLD, counts[i]);
  check_moves(half, parity, 1234);
  check_moves(backwards, reversed, 1235);
  check_averages(everybody);
  check_works(everybody);
  check_that_mpi_goes_on(everybody);
  check_misuse(everybody);
  int shares_memory = 0, goes_by_mpi = 0;
  OK(mfugaku_comm_group_shares_memory(everybody, &shares_memory));
  OK(mfugaku_comm_group_goes_by_mpi(everybody, MFUGAKU_COMM_ALL_REDUCE, 1024, MFUGAKU_COMM_INT32, &goes_by_mpi));
  REQUIRE(!(shares_memory && goes_by_mpi));
  if (shares_memory) check_shared_memory(everybody);
  OK(mfugaku_comm_set_algorithms("all_reduce=ring"));
  check_averages(everybody);
  OK(mfugaku_comm_group_free(&half));
  OK(mfugaku_comm_group_free(&backwards));
  REQUIRE(half == NULL);
  MPI_Comm_free(&parity);
  MPI_Comm_free(&reversed);
  if (rank == 0) printf("passed: %s memory; %s\n", shares_memory ? "shared" : "no", mfugaku_comm_version());
  MPI_Finalize();
  /* `everybody` was left to MPI_Finalize: it is good for nothing more, and freeing it still gives the memory back. */
  REQUIRE(mfugaku_comm_barrier(everybody, NULL) == MFUGAKU_COMM_FAILED);
  OK(mfugaku_comm_group_free(&everybody));
  return 0;
}
