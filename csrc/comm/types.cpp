#include "types.h"

#include <time.h>

namespace mfugaku::comm {

const char* name_of(DataType type) {
  switch (type) {
    case DataType::Float64: return "float64";
    case DataType::Float32: return "float32";
    case DataType::Float16: return "float16";
    case DataType::BFloat16: return "bfloat16";
    case DataType::Int8: return "int8";
    case DataType::Int16: return "int16";
    case DataType::Int32: return "int32";
    case DataType::Int64: return "int64";
    case DataType::UInt8: return "uint8";
    case DataType::UInt16: return "uint16";
    case DataType::UInt32: return "uint32";
    case DataType::UInt64: return "uint64";
    case DataType::Bool: return "bool";
    case DataType::Complex64: return "complex64";
    case DataType::Complex128: return "complex128";
    case DataType::Opaque: break;
  }
  return "a type that can be moved but not reduced";
}

const char* name_of(Reduction reduction) {
  switch (reduction) {
    case Reduction::Sum: return "SUM";
    case Reduction::Average: return "AVG";
    case Reduction::Product: return "PRODUCT";
    case Reduction::Minimum: return "MIN";
    case Reduction::Maximum: return "MAX";
    case Reduction::BitAnd: return "BAND";
    case Reduction::BitOr: return "BOR";
    case Reduction::BitXor: return "BXOR";
  }
  return "?";
}

int64_t size_of(DataType type) {
  switch (type) {
    case DataType::Int8: case DataType::UInt8: case DataType::Bool: return 1;
    case DataType::Float16: case DataType::BFloat16: case DataType::Int16: case DataType::UInt16: return 2;
    case DataType::Float32: case DataType::Int32: case DataType::UInt32: return 4;
    case DataType::Float64: case DataType::Int64: case DataType::UInt64: case DataType::Complex64: return 8;
    case DataType::Complex128: return 16;
    case DataType::Opaque: break;
  }
  return 0;
}

void check_reduction(DataType type, Reduction reduction) {
  bool possible = type != DataType::Opaque;
  switch (reduction) {
    case Reduction::Sum: case Reduction::Product: break;
    case Reduction::Average: possible = is_floating(type) || is_complex(type); break;
    case Reduction::Minimum: case Reduction::Maximum: possible = possible && !is_complex(type); break;
    case Reduction::BitAnd: case Reduction::BitOr: case Reduction::BitXor:
      possible = possible && !is_floating(type) && !is_complex(type);
      break;
  }
  if (!possible)
    throw std::invalid_argument(std::string("ReduceOp.") + name_of(reduction) + " is not defined for " +
                                name_of(type) + ". Convert the tensor or choose another reduction.");
}

double now_s() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace mfugaku::comm
