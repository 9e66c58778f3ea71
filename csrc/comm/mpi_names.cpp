#include "mpi_names.h"

#include <stdexcept>
#include <string>

namespace mfugaku::comm {

MPI_Datatype mpi_type_of(DataType type) {
  switch (type) {
    case DataType::Float64: return MPI_DOUBLE;
    case DataType::Float32: return MPI_FLOAT;
    case DataType::Int8: return MPI_INT8_T;
    case DataType::Int16: return MPI_INT16_T;
    case DataType::Int32: return MPI_INT32_T;
    case DataType::Int64: return MPI_INT64_T;
    case DataType::UInt8: case DataType::Bool: return MPI_UINT8_T;
    case DataType::UInt16: return MPI_UINT16_T;
    case DataType::UInt32: return MPI_UINT32_T;
    case DataType::UInt64: return MPI_UINT64_T;
    case DataType::Complex64: return MPI_C_FLOAT_COMPLEX;
    case DataType::Complex128: return MPI_C_DOUBLE_COMPLEX;
    case DataType::Float16: case DataType::BFloat16: case DataType::Opaque: break;
  }
  throw std::logic_error("no MPI datatype for " + std::string(name_of(type)));
}

MPI_Op mpi_op_of(Reduction reduction) {
  switch (reduction) {
    case Reduction::Sum: case Reduction::Average: return MPI_SUM;
    case Reduction::Product: return MPI_PROD;
    case Reduction::Minimum: return MPI_MIN;
    case Reduction::Maximum: return MPI_MAX;
    case Reduction::BitAnd: return MPI_BAND;
    case Reduction::BitOr: return MPI_BOR;
    case Reduction::BitXor: return MPI_BXOR;
  }
  throw std::logic_error("unknown reduction");
}

}  // namespace mfugaku::comm
