// Messages of float32 that carry 16-bit floats: half the bytes between nodes, sums still accumulated in float32.
//
// What a rank sends is rounded to the format of the wire, to nearest even, and widened again by who receives it; so a
// sum that travels along k ranks has been rounded k times. What a rank keeps for itself is not rounded, but for the
// results of an all-reduce: the rank that made one rounds it in its own memory too, so that all ranks have the same
// bits. Results of a reduce-scatter stay in float32, as they were summed up. A number beyond the range of float16
// becomes an infinity, as IEEE 754 has it, and is then found by whoever checks gradients; bfloat16 has float32's range.
#pragma once

#include <cstdint>
#include <string>

#include "reduce.h"
#include "types.h"

namespace mfugaku::comm {

struct Wire {
  DataType type = DataType::Float32;  // of messages; BFloat16 and Float16 for data of type Float32 alone
  bool rounds_results = false;        // of an all-reduce

  bool is_narrow() const { return is_half(type); }
  void pack(const void* values, int64_t count, void* message) const {
    narrow(type, static_cast<const float*>(values), count, 1.0, message);
  }
  void unpack(const void* message, int64_t count, void* values) const {
    widen(type, message, count, static_cast<float*>(values));
  }
  // Leaves in `values` what others would receive.
  void round(void* values, int64_t count) const;
};

// The format of that name. Throws std::invalid_argument on others than float32, bfloat16 and float16.
DataType wire_named(const std::string& name);

// Whether 16 bits are enough for what is done to them: sums and averages of float32.
inline bool may_go_narrow(DataType type, Reduction reduction) {
  return type == DataType::Float32 && (reduction == Reduction::Sum || reduction == Reduction::Average);
}

}  // namespace mfugaku::comm
