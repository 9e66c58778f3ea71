#include "build_facts.h"

#include <mpi.h>

namespace mfugaku::comm {

#define MFUGAKU_TEXT_OF(x) #x
#define MFUGAKU_TEXT(x) MFUGAKU_TEXT_OF(x)

std::map<std::string, std::string> build_facts() {
  std::map<std::string, std::string> facts;
#if defined(OPEN_MPI)
  facts["mpi_vendor"] = "Open MPI";
  facts["mpi_version"] =
      MFUGAKU_TEXT(OMPI_MAJOR_VERSION) "." MFUGAKU_TEXT(OMPI_MINOR_VERSION) "." MFUGAKU_TEXT(OMPI_RELEASE_VERSION);
#elif defined(MPICH_VERSION)
  facts["mpi_vendor"] = "MPICH";
  facts["mpi_version"] = MPICH_VERSION;
#else
  facts["mpi_vendor"] = "unknown";
  facts["mpi_version"] = "unknown";
#endif
  facts["mpi_standard"] = MFUGAKU_TEXT(MPI_VERSION) "." MFUGAKU_TEXT(MPI_SUBVERSION);
#if defined(__clang__)
  facts["compiler"] = __VERSION__;
#else
  facts["compiler"] = "GCC " __VERSION__;
#endif
#ifdef MFUGAKU_MPI_COMPILER
  facts["mpi_compiler"] = MFUGAKU_TEXT(MFUGAKU_MPI_COMPILER);
#endif
  return facts;
}

std::string mpi_library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  return {text, static_cast<size_t>(length)};
}

}  // namespace mfugaku::comm
