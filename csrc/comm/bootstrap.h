// Collectives over all processes of the job, needed before any group exists.
#pragma once

#include <string>
#include <vector>

namespace mfugaku::comm {

// The values of all processes in the order of their MPI ranks.
std::vector<int> all_gather_int(int value);

// The text of the process with MPI rank `root`.
std::string broadcast_text(const std::string& text, int root);

}  // namespace mfugaku::comm
