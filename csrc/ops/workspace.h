// Memory that an operator needs while it runs. It stays with the thread that called the operator: giving it back after
// each call would cost more page faults than the call has arithmetic.
#pragma once

#include <cstdint>

namespace mfugaku::ops {

// At least `count` floats, aligned to 64 bytes; those of the last call on this thread are gone.
float* workspace(int64_t count);

}  // namespace mfugaku::ops
