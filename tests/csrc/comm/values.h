// Elements of any type, what ranks contribute, and what reductions of it are: the slow way, element by element.
#pragma once

#include <complex>
#include <cstring>
#include <vector>

#include "comm/types.h"
#include "program.h"
#include "vec/half.h"

namespace mfugaku::tests {

using comm::DataType;
using comm::Reduction;

constexpr DataType kTypes[] = {
    DataType::Float64, DataType::Float32, DataType::Float16, DataType::BFloat16, DataType::Int8,
    DataType::Int16,   DataType::Int32,   DataType::Int64,   DataType::UInt8,    DataType::UInt16,
    DataType::UInt32,  DataType::UInt64,  DataType::Bool,    DataType::Complex64, DataType::Complex128};
constexpr Reduction kReductions[] = {Reduction::Sum,     Reduction::Average, Reduction::Product, Reduction::Minimum,
                                     Reduction::Maximum, Reduction::BitAnd,  Reduction::BitOr,   Reduction::BitXor};

template <typename T>
T get(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

template <typename T>
void put(char* at, T value) {
  std::memcpy(at, &value, sizeof(T));
}

// Element i as a number; the real part of a complex one, whose imaginary part must be zero.
inline double read(DataType type, const void* data, int64_t i) {
  const char* at = static_cast<const char*>(data) + i * comm::size_of(type);
  switch (type) {
    case DataType::Float64: return get<double>(at);
    case DataType::Float32: return get<float>(at);
    case DataType::Float16: return vec::float16_to_float(get<uint16_t>(at));
    case DataType::BFloat16: return vec::bfloat16_to_float(get<uint16_t>(at));
    case DataType::Int8: return get<int8_t>(at);
    case DataType::Int16: return get<int16_t>(at);
    case DataType::Int32: return get<int32_t>(at);
    case DataType::Int64: return static_cast<double>(get<int64_t>(at));
    case DataType::UInt8: case DataType::Bool: return get<uint8_t>(at);
    case DataType::UInt16: return get<uint16_t>(at);
    case DataType::UInt32: return get<uint32_t>(at);
    case DataType::UInt64: return static_cast<double>(get<uint64_t>(at));
    case DataType::Complex64: require(get<float>(at + 4) == 0, "an imaginary part"); return get<float>(at);
    case DataType::Complex128: require(get<double>(at + 8) == 0, "an imaginary part"); return get<double>(at);
    case DataType::Opaque: break;
  }
  throw Failure("no number");
}

// Integers wrap around.
inline void write(DataType type, void* data, int64_t i, double value) {
  char* at = static_cast<char*>(data) + i * comm::size_of(type);
  const auto whole = static_cast<int64_t>(value);
  switch (type) {
    case DataType::Float64: return put(at, value);
    case DataType::Float32: return put(at, static_cast<float>(value));
    case DataType::Float16: return put(at, vec::float_to_float16(static_cast<float>(value)));
    case DataType::BFloat16: return put(at, vec::float_to_bfloat16(static_cast<float>(value)));
    case DataType::Int8: case DataType::UInt8: return put(at, static_cast<uint8_t>(whole));
    case DataType::Int16: case DataType::UInt16: return put(at, static_cast<uint16_t>(whole));
    case DataType::Int32: case DataType::UInt32: return put(at, static_cast<uint32_t>(whole));
    case DataType::Int64: case DataType::UInt64: return put(at, whole);
    case DataType::Bool: return put(at, static_cast<uint8_t>(value != 0));
    case DataType::Complex64: put(at + 4, 0.0f); return put(at, static_cast<float>(value));
    case DataType::Complex128: put(at + 8, 0.0); return put(at, value);
    case DataType::Opaque: break;
  }
  throw Failure("no number");
}

// What a rank contributes: 1 to 4, of which products of four ranks are exact even in bfloat16; truths for Bool.
inline double contribution(DataType type, int rank, int64_t i, int64_t salt) {
  const int64_t value = (rank * 3 + i * 7 + i / 13 + salt) % 4;
  return static_cast<double>(type == DataType::Bool ? value % 2 : value + 1);
}

// The reduction of the ranks' contributions to element i.
inline double reduced(DataType type, Reduction reduction, int num_ranks, int64_t i, int64_t salt) {
  double result = contribution(type, 0, i, salt);
  for (int rank = 1; rank < num_ranks; ++rank) {
    const double next = contribution(type, rank, i, salt);
    const auto a = static_cast<int64_t>(result), b = static_cast<int64_t>(next);
    switch (reduction) {
      case Reduction::Sum: case Reduction::Average: result += next; break;
      case Reduction::Product: result *= next; break;
      case Reduction::Minimum: result = std::min(result, next); break;
      case Reduction::Maximum: result = std::max(result, next); break;
      case Reduction::BitAnd: result = static_cast<double>(a & b); break;
      case Reduction::BitOr: result = static_cast<double>(a | b); break;
      case Reduction::BitXor: result = static_cast<double>(a ^ b); break;
    }
  }
  return reduction == Reduction::Average ? result / num_ranks : result;
}

inline bool is_close(DataType type, Reduction reduction, double found, double expected) {
  // Averages over three ranks are rounded; everything else is exact.
  const double bound = reduction != Reduction::Average ? 0 : comm::is_half(type) ? 0x1p-8 : 0x1p-22;
  return std::abs(found - expected) <= bound * std::abs(expected);
}

}  // namespace mfugaku::tests
