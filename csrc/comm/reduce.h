// Reductions on the host: the arithmetic of those collectives whose messages we exchange ourselves.
#pragma once

#include <cstdint>
#include <vector>

#include "types.h"

namespace mfugaku::comm {

// out[i] = scale * (pieces[0][i] op pieces[1][i] op ...) for i < count, in that order of pieces. `type` is the type of
// every piece and of `out`. float16 and bfloat16 accumulate in float32 and round once. `scale` is 1 but for averages.
// `out` may be the very same memory as one of the pieces; partial overlap is not allowed.
void reduce_pieces(DataType type, Reduction reduction, const std::vector<const void*>& pieces, int64_t count,
                   double scale, void* out);

// Converts `count` float16 or bfloat16 elements to float32 and back.
void widen(DataType type, const void* half, int64_t count, float* out);
void narrow(DataType type, const float* values, int64_t count, double scale, void* half);

// values[i] *= scale, for floating and complex types other than the halves.
void scale_in_place(DataType type, void* values, int64_t count, double scale);

}  // namespace mfugaku::comm
