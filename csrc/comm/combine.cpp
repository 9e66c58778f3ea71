#include "combine.h"

#include <algorithm>
#include <vector>

#include "reduce.h"

namespace mfugaku::comm {
namespace {

constexpr int64_t kBlock = 2048;  // three of them stay in the L1 cache

// The operand's elements from `begin` on as float32: where they stand, or widened into `block`.
const void* widened(DataType type, const Operand& operand, int64_t begin, int64_t count, float* block) {
  if (operand.is_sum) return static_cast<const float*>(operand.data) + begin;
  widen(type, static_cast<const uint16_t*>(operand.data) + begin, count, block);
  return block;
}

}  // namespace

void combine(DataType type, Reduction reduction, const Operand& first, const Operand& second, int64_t count,
             double scale, void* out, bool out_is_sum) {
  std::vector<const void*> pieces{first.data, second.data};
  if (!is_half(type)) return reduce_pieces(type, reduction, pieces, count, out_is_sum ? 1.0 : scale, out);
  if (!first.is_sum && !second.is_sum && !out_is_sum)
    return reduce_pieces(type, reduction, pieces, count, scale, out);
  float left[kBlock], right[kBlock], result[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    pieces[0] = widened(type, first, begin, length, left);
    pieces[1] = widened(type, second, begin, length, right);
    void* sums = out_is_sum ? static_cast<float*>(out) + begin : result;
    reduce_pieces(DataType::Float32, reduction, pieces, length, 1.0, sums);
    if (!out_is_sum) narrow(type, result, length, scale, static_cast<uint16_t*>(out) + begin);
  }
}

}  // namespace mfugaku::comm
