#include "types.h"

#include <algorithm>
#include <iterator>
#include <type_traits>

#include "mfugaku_comm.h"

namespace mfugaku::preload {
namespace {

enum class Kind { Integer, Float, Complex, Bytes };

struct Type {
  MPI_Datatype handle;
  Kind kind;
  int type;
  int64_t num_bytes;
};

template <typename T>
Type integer(MPI_Datatype handle) {
  static_assert(std::is_integral_v<T> && sizeof(T) <= 8);
  const int place = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
  return {handle, Kind::Integer, (std::is_signed_v<T> ? MFUGAKU_COMM_INT8 : MFUGAKU_COMM_UINT8) + place, sizeof(T)};
}

// In the order in which programs use them most. MPI's types are no constants everywhere, hence a function.
const Type* find(MPI_Datatype handle) {
  static const Type types[] = {
      {MPI_DOUBLE, Kind::Float, MFUGAKU_COMM_FLOAT64, 8},
      {MPI_FLOAT, Kind::Float, MFUGAKU_COMM_FLOAT32, 4},
      integer<int>(MPI_INT),
      {MPI_BYTE, Kind::Bytes, MFUGAKU_COMM_UINT8, 1},
      integer<long>(MPI_LONG),
      integer<long long>(MPI_LONG_LONG_INT),
      integer<unsigned>(MPI_UNSIGNED),
      integer<unsigned long>(MPI_UNSIGNED_LONG),
      integer<unsigned long long>(MPI_UNSIGNED_LONG_LONG),
      integer<int64_t>(MPI_INT64_T),
      integer<int32_t>(MPI_INT32_T),
      integer<uint64_t>(MPI_UINT64_T),
      integer<uint32_t>(MPI_UINT32_T),
      integer<signed char>(MPI_SIGNED_CHAR),
      integer<unsigned char>(MPI_UNSIGNED_CHAR),
      integer<short>(MPI_SHORT),
      integer<unsigned short>(MPI_UNSIGNED_SHORT),
      integer<int8_t>(MPI_INT8_T),
      integer<int16_t>(MPI_INT16_T),
      integer<uint8_t>(MPI_UINT8_T),
      integer<uint16_t>(MPI_UINT16_T),
      {MPI_C_FLOAT_COMPLEX, Kind::Complex, MFUGAKU_COMM_COMPLEX64, 8},
      {MPI_C_DOUBLE_COMPLEX, Kind::Complex, MFUGAKU_COMM_COMPLEX128, 16},
      integer<MPI_Aint>(MPI_AINT),
      integer<MPI_Offset>(MPI_OFFSET),
      integer<MPI_Count>(MPI_COUNT),
  };
  const auto found = std::find_if(std::begin(types), std::end(types),
                                  [&](const Type& type) { return type.handle == handle; });
  return found == std::end(types) ? nullptr : found;
}

int sum_like(MPI_Op op) {
  if (op == MPI_SUM) return MFUGAKU_COMM_SUM;
  if (op == MPI_PROD) return MFUGAKU_COMM_PRODUCT;
  return -1;
}

int order_like(MPI_Op op) {
  if (op == MPI_MAX) return MFUGAKU_COMM_MAXIMUM;
  if (op == MPI_MIN) return MFUGAKU_COMM_MINIMUM;
  return -1;
}

int bit_like(MPI_Op op) {
  if (op == MPI_BAND) return MFUGAKU_COMM_BIT_AND;
  if (op == MPI_BOR) return MFUGAKU_COMM_BIT_OR;
  if (op == MPI_BXOR) return MFUGAKU_COMM_BIT_XOR;
  return -1;
}

}  // namespace

Reduction reduction_of(MPI_Datatype handle, MPI_Op op) {
  const Type* type = find(handle);
  if (type == nullptr) return {};
  int reduction = -1;
  if (type->kind != Kind::Bytes) reduction = sum_like(op);
  if (reduction < 0 && (type->kind == Kind::Integer || type->kind == Kind::Float)) reduction = order_like(op);
  if (reduction < 0 && (type->kind == Kind::Integer || type->kind == Kind::Bytes)) reduction = bit_like(op);
  if (reduction < 0) return {};
  return {type->type, reduction, type->num_bytes};
}

bool is_plain(MPI_Datatype handle) {
  if (find(handle) != nullptr || handle == MPI_CHAR) return true;
  int num_integers = 0, num_addresses = 0, num_types = 0, combiner = 0, size = 0;
  MPI_Aint begin = 0, extent = 0;
  return PMPI_Type_get_envelope(handle, &num_integers, &num_addresses, &num_types, &combiner) == MPI_SUCCESS &&
         combiner == MPI_COMBINER_NAMED && PMPI_Type_size(handle, &size) == MPI_SUCCESS &&
         PMPI_Type_get_extent(handle, &begin, &extent) == MPI_SUCCESS && begin == 0 && extent == size;
}

}  // namespace mfugaku::preload
