// What a member of a group says about the collective it is in; all members must say the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "types.h"

namespace mfugaku::comm {

struct Ticket {
  char name[24] = "";
  int64_t num_bytes = 0;
  uint64_t signature = 0;  // over all that must be alike on all members
};

// `argument` is whatever else must be alike, as a number, `sizes` are by rank.
Ticket make_ticket(const char* name, int64_t num_bytes, int64_t argument, const std::vector<int64_t>& sizes);

// A type and a reduction as such an argument.
constexpr int64_t number_of(DataType type, Reduction reduction) {
  return 64 * static_cast<int64_t>(type) + static_cast<int64_t>(reduction);
}

// In what the ticket of another member differs from one's own; empty when it does not.
std::string describe_difference(const Ticket& own, int member, const Ticket& other);

}  // namespace mfugaku::comm
