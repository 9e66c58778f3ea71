// MPI's names for our element types and reductions.
#pragma once

#include <mpi.h>

#include "types.h"

namespace mfugaku::comm {

// Throws std::logic_error for the halves and for Opaque, which MPI has no type for.
MPI_Datatype mpi_type_of(DataType type);
// Averages are sums, to be scaled afterwards.
MPI_Op mpi_op_of(Reduction reduction);

}  // namespace mfugaku::comm
