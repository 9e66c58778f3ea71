#include "wire.h"

#include <algorithm>
#include <stdexcept>

namespace mfugaku::comm {

void Wire::round(void* values, int64_t count) const {
  constexpr int64_t kBlock = 2048;
  uint16_t block[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    float* const part = static_cast<float*>(values) + begin;
    pack(part, length, block);
    unpack(block, length, part);
  }
}

DataType wire_named(const std::string& name) {
  for (const DataType type : {DataType::Float32, DataType::BFloat16, DataType::Float16})
    if (name == name_of(type)) return type;
  throw std::invalid_argument("'" + name + "' is none of float32, bfloat16, float16");
}

}  // namespace mfugaku::comm
