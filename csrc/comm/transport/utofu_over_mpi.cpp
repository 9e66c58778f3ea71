#include "utofu_over_mpi.h"

#ifdef MFUGAKU_WITH_UTOFU
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "utofu.h"
#endif

namespace mfugaku::comm {

#ifdef MFUGAKU_WITH_UTOFU
namespace {

// As the library reads it: a number of entries, or one like 512Ki.
int64_t queue_entries() {
  const char* const text = std::getenv("UTOFU_NUM_MRQ_ENTRIES");
  if (text == nullptr) return utofu::DeviceOptions{}.queue_entries;
  char* end = nullptr;
  const int64_t number = std::strtoll(text, &end, 10);
  const int64_t entries = *end == 'k' || *end == 'K' ? number << 10 : *end == 'm' || *end == 'M' ? number << 20 : number;
  return std::max<int64_t>(2048, entries);  // the fewest there are
}

const std::shared_ptr<utofu::Device>& device() {
  static const auto* const one = [] {  // never destroyed: transports may go away during process exit
    utofu::DeviceOptions options;
    options.queue_entries = queue_entries();
    return new std::shared_ptr<utofu::Device>(std::make_shared<utofu::Device>(options));
  }();
  return *one;
}

}  // namespace

bool has_utofu() { return true; }

std::shared_ptr<utofu::Mesh> connect_utofu(MPI_Comm comm, int rank, int size, const RunStage& run) {
  std::shared_ptr<utofu::Mesh> mesh;
  std::string failure;
  try {
    mesh = std::make_shared<utofu::Mesh>(device(), rank, size);
  } catch (const std::exception& error) {
    failure = error.what();
  }
  const size_t num_bytes = utofu::Mesh::address_bytes();
  auto mine = std::make_shared<std::vector<char>>(num_bytes);  // zeros where there is none
  if (mesh) *mine = mesh->address();
  auto all = std::make_shared<std::vector<char>>(num_bytes * static_cast<size_t>(size));
  run([=](Operation& operation) {
    operation.hold(mine);
    operation.hold(all);
    const auto count = static_cast<int>(num_bytes);
    MPI_Request request;
    check_mpi(MPI_Iallgather(mine->data(), count, MPI_BYTE, all->data(), count, MPI_BYTE, comm, &request),
              "MPI_Iallgather");
    operation.add_request(request);
  });
  if (!failure.empty()) throw CommFailure(failure);
  for (int other = 0; other < size; ++other) {
    const auto begin = all->begin() + static_cast<std::ptrdiff_t>(num_bytes) * other;
    if (std::all_of(begin, begin + static_cast<std::ptrdiff_t>(num_bytes), [](char byte) { return byte == 0; }))
      throw CommFailure("rank " + std::to_string(other) + " of the group cannot use uTofu; its own message says why");
  }
  mesh->connect(*all);
  return mesh;
}

std::unique_ptr<Transport> make_utofu_transport(const std::shared_ptr<utofu::Mesh>& mesh, int num_channels) {
  return std::make_unique<UtofuTransport>(mesh, mesh->take_channels(num_channels));
}

#else

bool has_utofu() { return false; }

std::shared_ptr<utofu::Mesh> connect_utofu(MPI_Comm, int, int, const RunStage&) {
  throw CommFailure("this build has no uTofu");
}

std::unique_ptr<Transport> make_utofu_transport(const std::shared_ptr<utofu::Mesh>&, int) {
  throw CommFailure("this build has no uTofu");
}

#endif

}  // namespace mfugaku::comm
