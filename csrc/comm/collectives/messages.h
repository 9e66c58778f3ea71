// Building blocks of the collectives: point-to-point messages of any size, and tests for overlapping memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../group.h"

namespace mfugaku::comm {

// Post one message, in parts when it is longer than one MPI call may carry. Empty messages are not sent.
inline void post_send(Operation& operation, const Group& group, const void* data, int64_t num_bytes, int to, int tag) {
  const int64_t limit = Engine::instance().max_count();
  for (int64_t begin = 0; begin < num_bytes; begin += limit) {
    MPI_Request request;
    check_mpi(MPI_Isend(static_cast<const char*>(data) + begin, static_cast<int>(std::min(limit, num_bytes - begin)),
                        MPI_BYTE, to, tag, group.comm(), &request),
              "MPI_Isend");
    operation.add_request(request);
  }
}

inline void post_receive(Operation& operation, const Group& group, void* data, int64_t num_bytes, int from, int tag) {
  const int64_t limit = Engine::instance().max_count();
  for (int64_t begin = 0; begin < num_bytes; begin += limit) {
    const int64_t length = std::min(limit, num_bytes - begin);
    MPI_Request request;
    check_mpi(MPI_Irecv(static_cast<char*>(data) + begin, static_cast<int>(length), MPI_BYTE, from, tag, group.comm(),
                        &request),
              "MPI_Irecv");
    operation.add_request(request, length);
  }
}

inline bool overlaps(const void* a, int64_t a_bytes, const void* b, int64_t b_bytes) {
  const auto* first = static_cast<const char*>(a);
  const auto* second = static_cast<const char*>(b);
  return a_bytes > 0 && b_bytes > 0 && first < second + b_bytes && second < first + a_bytes;
}

// Whether the blocks lie one after the other in memory without gaps.
template <typename Pointer>
bool is_one_block(const std::vector<Pointer>& blocks, const std::vector<int64_t>& num_bytes) {
  for (size_t i = 1; i < blocks.size(); ++i)
    if (static_cast<const char*>(blocks[i]) != static_cast<const char*>(blocks[i - 1]) + num_bytes[i - 1]) return false;
  return true;
}

inline int64_t sum_of(const std::vector<int64_t>& values) {
  int64_t total = 0;
  for (const int64_t value : values) total += value;
  return total;
}

}  // namespace mfugaku::comm
