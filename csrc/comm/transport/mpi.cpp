#include "mpi.h"

#include <algorithm>
#include <string>

#include "../operation.h"
#include "../types.h"

namespace mfugaku::comm {

int MpiTransport::post_send(int peer, int channel, const void* memory, int64_t num_bytes, int owner) {
  int num_parts = 0;
  for (int64_t begin = 0; begin < num_bytes; begin += max_bytes_, ++num_parts) {
    const int64_t length = std::min(max_bytes_, num_bytes - begin);
    MPI_Request request;
    check_mpi(MPI_Isend(static_cast<const char*>(memory) + begin, static_cast<int>(length), MPI_BYTE, peer,
                        first_tag_ + channel, comm_, &request), "MPI_Isend");
    requests_.push_back(request);
    parts_.push_back({owner, -1});
  }
  return num_parts;
}

int MpiTransport::post_receive(int peer, int channel, void* memory, int64_t num_bytes, int owner) {
  int num_parts = 0;
  for (int64_t begin = 0; begin < num_bytes; begin += max_bytes_, ++num_parts) {
    const int64_t length = std::min(max_bytes_, num_bytes - begin);
    MPI_Request request;
    check_mpi(MPI_Irecv(static_cast<char*>(memory) + begin, static_cast<int>(length), MPI_BYTE, peer,
                        first_tag_ + channel, comm_, &request), "MPI_Irecv");
    requests_.push_back(request);
    parts_.push_back({owner, length});
  }
  return num_parts;
}

void MpiTransport::check(const Part& part, const MPI_Status& status, int code) const {
  if (code == MPI_ERR_IN_STATUS) check_mpi(status.MPI_ERROR, "a message");
  if (part.expected_bytes < 0) return;
  int received = 0;
  check_mpi(MPI_Get_count(&status, MPI_BYTE, &received), "MPI_Get_count");
  if (received != part.expected_bytes)
    throw CommFailure("a message of " + std::to_string(received) + " bytes arrived where " +
                      std::to_string(part.expected_bytes) + " were expected; the ranks disagree about the tensor");
}

void MpiTransport::complete(bool is_waiting, std::vector<int>& finished) {
  if (requests_.empty()) return;
  const int count = static_cast<int>(requests_.size());
  int num_done = 0;
  indices_.resize(requests_.size());
  statuses_.resize(requests_.size());
  int code = MPI_SUCCESS;
  if (is_waiting) {  // simulators make a loop of tests of MPI_Waitsome
    code = MPI_Waitany(count, requests_.data(), indices_.data(), statuses_.data());
    num_done = 1;
  } else {
    code = MPI_Testsome(count, requests_.data(), &num_done, indices_.data(), statuses_.data());
    if (num_done == MPI_UNDEFINED) num_done = 0;
  }
  std::string failure;
  try {
    if (code != MPI_ERR_IN_STATUS) check_mpi(code, "MPI_Testsome");
  } catch (const CommFailure& error) {
    failure = error.what();
  }
  for (int i = 0; i < num_done; ++i) {
    const Part& part = parts_[static_cast<size_t>(indices_[static_cast<size_t>(i)])];
    finished.push_back(part.owner);
    try {
      check(part, statuses_[static_cast<size_t>(i)], code);
    } catch (const CommFailure& error) {
      failure = error.what();
    }
  }
  forget_done();
  if (!failure.empty()) throw CommFailure(failure);
}

void MpiTransport::forget_done() {
  size_t kept = 0;
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] == MPI_REQUEST_NULL) continue;
    requests_[kept] = requests_[i];
    parts_[kept++] = parts_[i];
  }
  requests_.resize(kept);
  parts_.resize(kept);
}

}  // namespace mfugaku::comm
