// MPI's predefined types and operations in the terms of mfugaku_comm.h.
#pragma once

#include <mpi.h>

#include <cstdint>

namespace mfugaku::preload {

// A reduction that is served: a type and an operation of mfugaku_comm.h, and the bytes of an element.
struct Reduction {
  int type = -1, reduction = -1;
  int64_t element_bytes = 0;
  explicit operator bool() const { return type >= 0; }
};

// False for what MPI defines by functions of the program, and for types and operations that are not known here.
Reduction reduction_of(MPI_Datatype type, MPI_Op op);

// Whether elements of the type are just bytes in a row, in the order in which they are sent: predefined types without
// gaps.
bool is_plain(MPI_Datatype type);

}  // namespace mfugaku::preload
