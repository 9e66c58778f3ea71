// Element types, reductions and errors of the communication core. No torch, no MPI types in this file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace mfugaku::comm {

enum class DataType {
  Float64, Float32, Float16, BFloat16,
  Int8, Int16, Int32, Int64,
  UInt8, UInt16, UInt32, UInt64,
  Bool, Complex64, Complex128,
  Opaque,  // moved, never reduced
};

enum class Reduction { Sum, Average, Product, Minimum, Maximum, BitAnd, BitOr, BitXor };

constexpr bool is_half(DataType type) { return type == DataType::Float16 || type == DataType::BFloat16; }

constexpr bool is_floating(DataType type) {
  return is_half(type) || type == DataType::Float32 || type == DataType::Float64;
}

constexpr bool is_complex(DataType type) { return type == DataType::Complex64 || type == DataType::Complex128; }

// Name as torch writes it, and bytes per element (0 for Opaque).
const char* name_of(DataType type);
const char* name_of(Reduction reduction);
int64_t size_of(DataType type);

// Throws std::invalid_argument when `reduction` has no meaning for `type`.
void check_reduction(DataType type, Reduction reduction);

// An operation that MPI refused, or that other ranks did not answer in time.
struct CommFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What a rank has for another one, and where that what the other has for it shall go.
struct Parcel {
  const void* piece = nullptr;
  int64_t piece_bytes = 0;
  void* out = nullptr;
  int64_t out_bytes = 0;
};

// Owners of the memory that an operation reads and writes, released when it is over.
using Keep = std::vector<std::shared_ptr<void>>;

// Seconds on CLOCK_MONOTONIC, which Python's time.monotonic and time.perf_counter read as well.
double now_s();

}  // namespace mfugaku::comm
