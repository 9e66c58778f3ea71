// Messages of an operation by MPI's nonblocking sends and receives.
#pragma once

#include <mpi.h>

#include "transport.h"

namespace mfugaku::comm {

class MpiTransport final : public Transport {
 public:
  // Channel i has tag first_tag + i of `comm`; longer messages than max_bytes go in parts.
  MpiTransport(MPI_Comm comm, int first_tag, int64_t max_bytes)
      : comm_(comm), first_tag_(first_tag), max_bytes_(max_bytes) {}

  int post_send(int peer, int channel, const void* memory, int64_t num_bytes, int owner) override;
  int post_receive(int peer, int channel, void* memory, int64_t num_bytes, int owner) override;
  void complete(bool is_waiting, std::vector<int>& finished) override;
  bool has_open() const override { return !requests_.empty(); }

 private:
  struct Part {
    int owner;
    int64_t expected_bytes;  // -1 for a send
  };
  void check(const Part& part, const MPI_Status& status, int code) const;
  void forget_done();

  MPI_Comm comm_;
  int first_tag_;
  int64_t max_bytes_;
  std::vector<MPI_Request> requests_;
  std::vector<Part> parts_;  // of the requests
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
};

}  // namespace mfugaku::comm
