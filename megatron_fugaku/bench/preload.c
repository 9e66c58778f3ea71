/* What `mfugaku bench preload` measures: a program that knows nothing but MPI.
 *
 *     preload REPORT ROUNDS BYTES...
 *
 * Times its three collectives on float32 vectors of so many bytes in all, of which the least of ROUNDS batches counts,
 * on the slowest rank. Rank 0 writes a line of name, bytes and seconds per call to REPORT. Results are checked. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { NUM_COLLECTIVES = 3, NUM_FIRST_CALLS = 3, MAX_BATCH = 200 };
static const double kBatchS = 0.003;
static const char* const names[NUM_COLLECTIVES] = {"MPI_Allreduce", "MPI_Reduce_scatter_block", "MPI_Allgather"};
static int rank, size;

static void call(int collective, const float* in, float* out, int count) {
  if (collective == 0)
    MPI_Allreduce(in, out, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  else if (collective == 1)
    MPI_Reduce_scatter_block(in, out, count / size, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  else
    MPI_Allgather(in, count / size, MPI_FLOAT, out, count / size, MPI_FLOAT, MPI_COMM_WORLD);
}

/* Rank r gives r + 1 everywhere. */
static void check(int collective, const float* out, int count) {
  const int block = count / size;
  const int num_results = collective == 1 ? block : collective == 0 ? count : block * size;
  for (int i = 0; i < num_results; ++i) {
    const float expected = collective == 2 ? (float)(i / block + 1) : (float)(size * (size + 1)) / 2;
    if (out[i] == expected) continue;
    fprintf(stderr, "%s: element %d is %g in place of %g\n", names[collective], i, out[i], expected);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
}

static double time_batch(int collective, const float* in, float* out, int count, int num_calls) {
  MPI_Barrier(MPI_COMM_WORLD);
  const double begin_s = MPI_Wtime();
  for (int i = 0; i < num_calls; ++i) call(collective, in, out, count);
  double own_s = (MPI_Wtime() - begin_s) / num_calls, slowest_s = 0;
  MPI_Reduce(&own_s, &slowest_s, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
  MPI_Bcast(&slowest_s, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  return slowest_s;
}

static double measure(int collective, long num_bytes, int num_rounds) {
  const int count = (int)(num_bytes / (long)sizeof(float)) / size * size;
  float *in = malloc(sizeof(float) * (size_t)count), *out = malloc(sizeof(float) * (size_t)count);
  if (in == NULL || out == NULL) MPI_Abort(MPI_COMM_WORLD, 1);
  for (int i = 0; i < count; ++i) in[i] = (float)(rank + 1), out[i] = 0;
  for (int i = 0; i < NUM_FIRST_CALLS; ++i) call(collective, in, out, count);
  check(collective, out, count);
  const double first_s = time_batch(collective, in, out, count, 2);
  int num_calls = (int)(kBatchS / first_s);
  num_calls = num_calls < 1 ? 1 : num_calls > MAX_BATCH ? MAX_BATCH : num_calls;
  double least_s = first_s;
  for (int round = 0; round < num_rounds; ++round) {
    const double seconds = time_batch(collective, in, out, count, num_calls);
    if (seconds < least_s) least_s = seconds;
  }
  free(in);
  free(out);
  return least_s;
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  FILE* report = argc > 3 && rank == 0 ? fopen(argv[1], "w") : NULL;
  if (argc <= 3 || (rank == 0 && report == NULL)) MPI_Abort(MPI_COMM_WORLD, 2);
  for (int collective = 0; collective < NUM_COLLECTIVES; ++collective)
    for (int i = 3; i < argc; ++i) {
      const double seconds = measure(collective, atol(argv[i]), atoi(argv[2]));
      if (rank == 0) fprintf(report, "%s %s %.9g\n", names[collective], argv[i], seconds);
    }
  if (rank == 0) fclose(report);
  MPI_Finalize();
  return 0;
}
