// uTofu for groups of the engine: addresses travel over MPI, messages of schedules over Tofu. Without <utofu.h> at
// build time (setup.py looks for it) these say that there is none. Not yet run on the machine.
#pragma once

#include <mpi.h>

#include <functional>
#include <memory>

#include "../operation.h"
#include "transport.h"

namespace mfugaku::comm {

namespace utofu {
class Mesh;
}

// Whether this build has it.
bool has_utofu();

// Carries out one stage of an operation and waits until it is over.
using RunStage = std::function<void(Operation::Stage)>;

// Connects the ranks of a communicator; collective over them. Throws CommFailure on all of them when one cannot.
std::shared_ptr<utofu::Mesh> connect_utofu(MPI_Comm comm, int rank, int size, const RunStage& run);

// The messages of the next schedule; all ranks make them in the same order.
std::unique_ptr<Transport> make_utofu_transport(const std::shared_ptr<utofu::Mesh>& mesh, int num_channels);

}  // namespace mfugaku::comm
