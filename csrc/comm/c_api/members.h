// Who the members of a program's own communicator are.
#pragma once

#include <vector>

namespace mfugaku::comm {

struct Members {
  std::vector<int> world_ranks;  // by rank in the communicator
  int rank;                      // this process's
};

// Of a communicator given as MPI's Fortran handle. Throws std::invalid_argument for one that is null, joins two groups,
// or has members outside MPI_COMM_WORLD.
Members members_of(int mpi_comm_f);

// Throws std::invalid_argument when MPI does not run, or not yet.
void check_mpi_runs();

}  // namespace mfugaku::comm
