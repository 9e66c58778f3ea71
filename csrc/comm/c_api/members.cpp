#include "members.h"

#include <mpi.h>

#include <numeric>
#include <stdexcept>

#include "../engine.h"

namespace mfugaku::comm {
namespace {

std::vector<int> world_ranks_of(MPI_Group members, int size) {
  MPI_Group world = MPI_GROUP_NULL;
  check_mpi(MPI_Comm_group(MPI_COMM_WORLD, &world), "MPI_Comm_group");
  std::vector<int> ranks(static_cast<size_t>(size)), world_ranks(ranks.size());
  std::iota(ranks.begin(), ranks.end(), 0);
  const int code = MPI_Group_translate_ranks(members, size, ranks.data(), world, world_ranks.data());
  MPI_Group_free(&world);
  check_mpi(code, "MPI_Group_translate_ranks");
  return world_ranks;
}

}  // namespace

Members members_of(int mpi_comm_f) {
  Members found{};
  Engine::instance().locked([&] {
    const MPI_Comm comm = MPI_Comm_f2c(mpi_comm_f);
    if (comm == MPI_COMM_NULL || comm == MPI_Comm{}) throw std::invalid_argument("the communicator is MPI_COMM_NULL");
    int joins_two = 0, size = 0;
    check_mpi(MPI_Comm_test_inter(comm, &joins_two), "MPI_Comm_test_inter");
    if (joins_two != 0) throw std::invalid_argument("the communicator joins two groups, and only one can be served");
    check_mpi(MPI_Comm_size(comm, &size), "MPI_Comm_size");
    check_mpi(MPI_Comm_rank(comm, &found.rank), "MPI_Comm_rank");
    MPI_Group members = MPI_GROUP_NULL;
    check_mpi(MPI_Comm_group(comm, &members), "MPI_Comm_group");
    found.world_ranks = world_ranks_of(members, size);
    MPI_Group_free(&members);
  });
  for (const int rank : found.world_ranks)
    if (rank == MPI_UNDEFINED) throw std::invalid_argument("the communicator has members outside MPI_COMM_WORLD");
  return found;
}

void check_mpi_runs() {
  int is_initialized = 0, is_finalized = 0;
  check_mpi(MPI_Initialized(&is_initialized), "MPI_Initialized");
  check_mpi(MPI_Finalized(&is_finalized), "MPI_Finalized");
  if (is_initialized == 0 || is_finalized != 0)
    throw std::invalid_argument(is_finalized != 0 ? "MPI_Finalize was called already" : "MPI_Init was not called yet");
}

}  // namespace mfugaku::comm
