// One operation with all that belongs to it: memory, start, and what must be there when it is over.
#pragma once

#include <functional>
#include <memory>

#include "comm/collectives/collectives.h"
#include "program.h"

namespace mfugaku::tests {

// Exactly so many bytes, so that an AddressSanitizer sees any step beside them; or a block of the arena.
std::shared_ptr<char> allocate(int64_t num_bytes, bool is_in_arena);

struct Job {
  std::string description;
  std::function<comm::OperationPtr()> start;
  std::function<void()> verify;  // throws Failure
};

// A collective chosen at random: kind, type, reduction, sizes, memory that overlaps or lies in the arena. All members
// must draw from the same state; `own` may differ and decides what is each rank's own business.
Job draw_job(Random& common, Random& own, const std::shared_ptr<comm::Group>& group, int64_t max_count);

}  // namespace mfugaku::tests
