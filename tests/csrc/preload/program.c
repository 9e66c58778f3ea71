/* A program that knows nothing but MPI: `program FOLDER [threads]`. It writes what its collectives gave to files, so
 * that runs with and without the preload can be compared. Sums of integers and of small whole numbers in floats are
 * exact: rank_N.exact has a line for each result, with where it came from and a hash of its bytes. Sums of other floats
 * depend on their order: they stand in rank_N.close. */
#include <math.h>
#include <mpi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int rank, size;
static FILE *exact, *close_to;

#define REQUIRE(condition)                                                             \
  do {                                                                                 \
    if (!(condition)) {                                                                \
      fprintf(stderr, "rank %d, line %d: %s\n", rank, __LINE__, #condition);          \
      MPI_Abort(MPI_COMM_WORLD, 1);                                                    \
    }                                                                                  \
  } while (0)

static void* memory_of(size_t num_bytes) {
  void* memory = calloc(1, num_bytes > 0 ? num_bytes : 1);
  REQUIRE(memory != NULL);
  return memory;
}

static void keep_line(int line, const void* data, size_t num_bytes) {
  unsigned long long hash = 14695981039346656037ull; /* FNV-1a */
  for (size_t i = 0; i < num_bytes; ++i) hash = (hash ^ ((const unsigned char*)data)[i]) * 1099511628211ull;
  fprintf(exact, "line %d: %zu bytes, %016llx\n", line, num_bytes, hash);
}
#define KEEP(data, num_bytes) keep_line(__LINE__, data, num_bytes)

struct Type {
  MPI_Datatype handle;
  char kind; /* i: integers, f: floats, c: complex ones, b: bytes, l: truths, p: pairs */
};

static void fill(const struct Type* type, void* data, int count, int member) {
  int bytes;
  MPI_Type_size(type->handle, &bytes);
  for (int i = 0; i < count; ++i) {
    const int value = 1 + (member * 7 + i * 3) % 4;
    char* place = (char*)data + (size_t)i * (size_t)bytes;
    memset(place, 0, (size_t)bytes);
    if (type->kind == 'f' && bytes == 16) *(long double*)place = value;
    else if (type->kind == 'f' || type->kind == 'c') {
      if (bytes == (type->kind == 'f' ? 8 : 16)) *(double*)place = value;
      else *(float*)place = (float)value;
    } else if (type->kind == 'p') {
      *(float*)place = (float)value, *(int*)(place + 4) = member;
    } else if (type->kind == 'l') {
      *place = value > 2;
    } else {
      const long long number = value; /* little-endian */
      memcpy(place, &number, (size_t)bytes);
    }
  }
}

/* Every type, or one in `step`, with every operation that MPI defines for it: also those that nobody but MPI serves. */
static void reduce_all(MPI_Comm comm, int count, size_t step) {
  const struct Type types[] = {
      {MPI_INT, 'i'}, {MPI_LONG, 'i'}, {MPI_LONG_LONG, 'i'}, {MPI_SHORT, 'i'}, {MPI_SIGNED_CHAR, 'i'},
      {MPI_UNSIGNED, 'i'}, {MPI_UNSIGNED_LONG, 'i'}, {MPI_UNSIGNED_SHORT, 'i'}, {MPI_UNSIGNED_CHAR, 'i'},
      {MPI_INT8_T, 'i'}, {MPI_UINT16_T, 'i'}, {MPI_INT32_T, 'i'}, {MPI_UINT64_T, 'i'}, {MPI_AINT, 'i'},
      {MPI_OFFSET, 'i'}, {MPI_COUNT, 'i'}, {MPI_FLOAT, 'f'}, {MPI_DOUBLE, 'f'}, {MPI_LONG_DOUBLE, 'f'},
      {MPI_C_FLOAT_COMPLEX, 'c'}, {MPI_C_DOUBLE_COMPLEX, 'c'}, {MPI_BYTE, 'b'}, {MPI_C_BOOL, 'l'},
      {MPI_FLOAT_INT, 'p'}};
  const MPI_Op ops[] = {MPI_SUM, MPI_PROD, MPI_MAX, MPI_MIN, MPI_BAND,
                        MPI_BOR, MPI_BXOR, MPI_LAND, MPI_LOR, MPI_MINLOC};
  const char* const defined[] = {"ifc", "ifc", "if", "if", "ib", "ib", "ib", "il", "il", "p"};
  int member, members;
  MPI_Comm_rank(comm, &member);
  MPI_Comm_size(comm, &members);
  for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t += step)
    for (size_t o = 0; o < sizeof(ops) / sizeof(ops[0]); ++o) {
      if (strchr(defined[o], types[t].kind) == NULL) continue;
      int bytes;
      MPI_Type_size(types[t].handle, &bytes);
      const size_t one = (size_t)bytes * (size_t)count, all = one * (size_t)members;
      void *in = memory_of(all), *out = memory_of(all);
      fill(&types[t], in, count * members, member);
      MPI_Allreduce(in, out, count, types[t].handle, ops[o], comm);
      KEEP(out, one);
      memcpy(out, in, all);
      MPI_Allreduce(MPI_IN_PLACE, out, count, types[t].handle, ops[o], comm);
      KEEP(out, one);
      memset(out, 0, all);
      MPI_Reduce_scatter_block(in, out, count, types[t].handle, ops[o], comm);
      KEEP(out, one);
      memcpy(out, in, all);
      MPI_Reduce_scatter_block(MPI_IN_PLACE, out, count, types[t].handle, ops[o], comm);
      KEEP(out, one);
      free(in);
      free(out);
    }
}

static void sum_fractions(MPI_Comm comm, int count) {
  float* values = memory_of(sizeof(float) * (size_t)count);
  double* longer = memory_of(sizeof(double) * (size_t)count);
  for (int i = 0; i < count; ++i) longer[i] = values[i] = sinf((float)(i + 1) * (float)(rank + 1));
  MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_FLOAT, MPI_SUM, comm);
  MPI_Allreduce(MPI_IN_PLACE, longer, count, MPI_DOUBLE, MPI_SUM, comm);
  for (int i = 0; i < count; ++i) fprintf(close_to, "%.9g %.17g\n", values[i], longer[i]);
  /* All ranks must have the same bits. */
  float *least = memory_of(sizeof(float) * (size_t)count), *most = memory_of(sizeof(float) * (size_t)count);
  MPI_Allreduce(values, least, count, MPI_FLOAT, MPI_MIN, comm);
  MPI_Allreduce(values, most, count, MPI_FLOAT, MPI_MAX, comm);
  REQUIRE(memcmp(least, most, sizeof(float) * (size_t)count) == 0);
  free(values);
  free(longer);
  free(least);
  free(most);
}

static void gather_all(MPI_Comm comm, int count) {
  int member, members;
  MPI_Comm_rank(comm, &member);
  MPI_Comm_size(comm, &members);
  int *own = memory_of(sizeof(int) * (size_t)(count + 1));
  int *all = memory_of(sizeof(int) * (size_t)(count * members + 1));
  for (int i = 0; i < count; ++i) own[i] = 1000 * member + i;
  MPI_Allgather(own, count, MPI_INT, all, count, MPI_INT, comm);
  KEEP(all, sizeof(int) * (size_t)(count * members));
  memset(all, 0, sizeof(int) * (size_t)(count * members));
  memcpy(all + member * count, own, sizeof(int) * (size_t)count);
  MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, count, MPI_INT, comm);
  KEEP(all, sizeof(int) * (size_t)(count * members));
  free(own);
  free(all);
}

/* Every rank has another layout for the same numbers, as MPI allows: some with gaps, some without, some swapped. */
static void gather_layouts(MPI_Comm comm) {
  enum { COUNT = 3000 };
  int member, members;
  MPI_Comm_rank(comm, &member);
  MPI_Comm_size(comm, &members);
  MPI_Datatype with_gaps, swapped;
  MPI_Type_create_resized(MPI_INT, 0, 2 * sizeof(int), &with_gaps);
  MPI_Type_commit(&with_gaps);
  MPI_Type_indexed(2, (int[]){1, 1}, (int[]){1, 0}, MPI_INT, &swapped);
  MPI_Type_commit(&swapped);
  int* own = memory_of(sizeof(int) * 2 * COUNT);
  int* all = memory_of(sizeof(int) * 2 * COUNT * (size_t)members);
  for (int i = 0; i < 2 * COUNT; ++i) own[i] = 10000 * member + i;
  for (int round = 0; round < 3; ++round) {
    const MPI_Datatype mine[] = {MPI_INT, with_gaps, swapped};
    const int kind = (member + round) % 3, n = kind == 2 ? COUNT / 2 : COUNT, other = (member + 1) % 3;
    memset(all, 0, sizeof(int) * 2 * COUNT * (size_t)members);
    MPI_Allgather(own, n, mine[kind], all, other == 2 ? COUNT / 2 : COUNT, mine[other], comm);
    KEEP(all, sizeof(int) * 2 * COUNT * (size_t)members);
  }
  for (int i = 0; i < COUNT; ++i) all[2 * (member * COUNT + i)] = 7 * member + i;
  MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, COUNT, with_gaps, comm);
  KEEP(all, sizeof(int) * 2 * COUNT * (size_t)members);
  MPI_Type_free(&with_gaps);
  MPI_Type_free(&swapped);
  free(own);
  free(all);
}

/* Not commutative: 2x2 matrices would do as well. */
static void compose(void* in, void* inout, int* count, MPI_Datatype* type) {
  (void)type;
  for (int i = 0; i < *count; ++i) ((int*)inout)[i] = 3 * ((int*)in)[i] + ((int*)inout)[i];
}

static void reduce_by_own_function(MPI_Comm comm) {
  enum { COUNT = 5000 };
  static int values[COUNT];
  MPI_Op op;
  MPI_Op_create(compose, 0, &op);
  for (int i = 0; i < COUNT; ++i) values[i] = rank + i;
  MPI_Allreduce(MPI_IN_PLACE, values, COUNT, MPI_INT, op, comm);
  KEEP(values, sizeof(values));
  MPI_Op_free(&op);
}

/* The members of either half get the sum over the other. */
static void reduce_between_groups(void) {
  MPI_Comm half, both;
  int value = 1 << rank, sum = 0;
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
  MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, 1 - rank % 2, 9, &both);
  for (int i = 0; i < 3; ++i) {
    MPI_Allreduce(&value, &sum, 1, MPI_INT, MPI_SUM, both);
    KEEP(&sum, sizeof(sum));
  }
  MPI_Comm_free(&both);
  MPI_Comm_free(&half);
}

/* The last rank waits for a long message whose sender is in a collective already. */
static void mix_with_messages(MPI_Comm comm) {
  enum { COUNT = 1 << 20 };
  int *message = memory_of(sizeof(int) * COUNT), value = rank, sum = 0, last = size - 1;
  MPI_Request request = MPI_REQUEST_NULL;
  if (rank == 0) {
    for (int i = 0; i < COUNT; ++i) message[i] = i;
    MPI_Isend(message, COUNT, MPI_INT, last, 5, comm, &request);
  }
  if (rank == last) MPI_Recv(message, COUNT, MPI_INT, 0, 5, comm, MPI_STATUS_IGNORE);
  MPI_Allreduce(&value, &sum, 1, MPI_INT, MPI_SUM, comm);
  MPI_Wait(&request, MPI_STATUS_IGNORE);
  KEEP(&sum, sizeof(sum));
  if (rank == last) KEEP(message, sizeof(int) * 1000);
  free(message);
}

static void make_and_free_communicators(void) {
  for (int i = 0; i < 20; ++i) {
    MPI_Comm copy, part;
    int value = rank + i, sum = 0;
    MPI_Comm_dup(MPI_COMM_WORLD, &copy);
    MPI_Comm_split(copy, (rank + i) % 2, -rank, &part);
    for (int j = 0; j < 1 + i % 4; ++j) {
      MPI_Allreduce(&value, &sum, 1, MPI_INT, MPI_SUM, part);
      KEEP(&sum, sizeof(sum));
      MPI_Allreduce(&value, &sum, 1, MPI_INT, MPI_SUM, copy);
      KEEP(&sum, sizeof(sum));
    }
    MPI_Comm_free(&copy);
    MPI_Comm_free(&part);
  }
}

struct Thread {
  pthread_t thread;
  MPI_Comm comm;
  long long sum;
};

static void* reduce_in_thread(void* argument) {
  struct Thread* self = argument;
  long long value[2000];
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 2000; ++i) value[i] = rank + round + i;
    MPI_Allreduce(MPI_IN_PLACE, value, 2000, MPI_LONG_LONG, MPI_SUM, self->comm);
    self->sum += value[round];
  }
  return NULL;
}

/* Threads on communicators of their own, whose first collectives they come to in any order. */
static void reduce_in_threads(void) {
  enum { NUM = 4 };
  struct Thread threads[NUM];
  for (int i = 0; i < NUM; ++i) {
    MPI_Comm_dup(MPI_COMM_WORLD, &threads[i].comm);
    threads[i].sum = 0;
  }
  for (int i = 0; i < NUM; ++i) pthread_create(&threads[i].thread, NULL, reduce_in_thread, &threads[(i + rank) % NUM]);
  for (int i = 0; i < NUM; ++i) pthread_join(threads[i].thread, NULL);
  for (int i = 0; i < NUM; ++i) {
    KEEP(&threads[i].sum, sizeof(threads[i].sum));
    MPI_Comm_free(&threads[i].comm);
  }
}

static FILE* open_file(const char* folder, const char* ending) {
  char path[4096];
  snprintf(path, sizeof(path), "%s/rank_%d.%s", folder, rank, ending);
  FILE* file = fopen(path, "wb");
  REQUIRE(file != NULL);
  return file;
}

int main(int argc, char** argv) {
  const int has_threads = argc > 2 && strcmp(argv[2], "threads") == 0;
  int level = MPI_THREAD_SINGLE;
  if (has_threads)
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
  else
    MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  REQUIRE(argc > 1);
  exact = open_file(argv[1], "exact");
  close_to = open_file(argv[1], "close");
  const int counts[] = {0, 1, 7, 1000};
  for (int i = 0; i < 4; ++i) {
    reduce_all(MPI_COMM_WORLD, counts[i], 1);
    gather_all(MPI_COMM_WORLD, counts[i]);
  }
  reduce_all(MPI_COMM_WORLD, 70000, 4);
  gather_all(MPI_COMM_WORLD, 300000);
  sum_fractions(MPI_COMM_WORLD, 10000);
  gather_layouts(MPI_COMM_WORLD);
  reduce_by_own_function(MPI_COMM_WORLD);
  if (size > 1) reduce_between_groups();
  mix_with_messages(MPI_COMM_WORLD);
  make_and_free_communicators();
  reduce_all(MPI_COMM_SELF, 100, 1);
  MPI_Comm part;
  MPI_Comm_split(MPI_COMM_WORLD, rank / 2, -rank, &part);
  reduce_all(part, 500, 2);
  gather_layouts(part);
  if (level == MPI_THREAD_MULTIPLE) reduce_in_threads();
  fclose(exact);
  fclose(close_to);
  MPI_Finalize(); /* `part` is left to it */
  return 0;
}
