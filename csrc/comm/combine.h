// Reductions of two operands of which either may be a sum under way.
#pragma once

#include <cstdint>

#include "types.h"

namespace mfugaku::comm {

// What sums of a type are accumulated in, and travel as.
constexpr DataType sum_type_of(DataType type) { return is_half(type) ? DataType::Float32 : type; }

// Elements of the collective's type, or sums under way.
struct Operand {
  const void* data;
  bool is_sum;
};

// out[i] = first[i] op second[i]. Where `out_is_sum` is false this is the last reduction of an element: it is scaled,
// and rounded to `type`. `out` may be the very same memory as an operand of its kind.
void combine(DataType type, Reduction reduction, const Operand& first, const Operand& second, int64_t count,
             double scale, void* out, bool out_is_sum);

}  // namespace mfugaku::comm
