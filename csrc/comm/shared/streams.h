// Results that are longer than the caches: written past them, so that their memory is not read first.
#pragma once

#include <cstdint>
#include <vector>

#include "../types.h"

namespace mfugaku::comm::shared {

// Whether so many bytes, all that the members of a collective read and write, are more than is to stay in the caches.
bool exceeds_caches(int64_t num_bytes);
// For tests: how much that is; 0: what the system suggests.
void set_cache_bytes(int64_t num_bytes);

// to[i] = from[i] without overlap; `streams` where the copy is not to stay in the caches.
void copy(void* to, const void* from, int64_t num_bytes, bool streams = false);

// As reduce_pieces, whose `out` is apart from the pieces where it `streams`.
void reduce_into(DataType type, Reduction reduction, const std::vector<const void*>& pieces, int64_t count, double scale,
                 void* out, bool streams);

}  // namespace mfugaku::comm::shared
