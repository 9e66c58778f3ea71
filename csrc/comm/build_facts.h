// What the extension was built with.
#pragma once

#include <map>
#include <string>

namespace mfugaku::comm {

std::map<std::string, std::string> build_facts();

// MPI_Get_library_version: what is loaded now, as opposed to what the headers said.
std::string mpi_library_version();

}  // namespace mfugaku::comm
