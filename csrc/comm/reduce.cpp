#include "reduce.h"

#include <algorithm>
#include <complex>
#include <cstring>
#include <type_traits>

#include "kernels/reduce/reduce.h"
#include "kernels/registry.h"
#include "vec/half.h"

namespace mfugaku::comm {
namespace {

using kernels::ReduceKernels;

constexpr int64_t kBlock = 2048;  // accumulators stay in the L1 cache

// How elements of one type are read into accumulators and written back.
template <typename T>
struct Plain {
  using Element = T;
  using Accumulator = T;
  static T load(T value) { return value; }
  static T store(T value) { return value; }
};
struct Bfloat16 {
  using Element = uint16_t;
  using Accumulator = float;
  static float load(uint16_t value) { return vec::bfloat16_to_float(value); }
  static uint16_t store(float value) { return vec::float_to_bfloat16(value); }
};
struct Ieee16 {
  using Element = uint16_t;
  using Accumulator = float;
  static float load(uint16_t value) { return vec::float16_to_float(value); }
  static uint16_t store(float value) { return vec::float_to_float16(value); }
};
struct Boolean {
  using Element = uint8_t;
  using Accumulator = uint8_t;
  static uint8_t load(uint8_t value) { return value != 0; }
  static uint8_t store(uint8_t value) { return value != 0; }
};

template <typename T>
inline constexpr bool is_complex_v = std::is_same_v<T, std::complex<float>> || std::is_same_v<T, std::complex<double>>;

template <typename Format, typename Combine>
void reduce_blocks(const std::vector<const void*>& pieces, int64_t count, double scale, void* out, Combine combine) {
  using Element = typename Format::Element;
  using Accumulator = typename Format::Accumulator;
  Accumulator sums[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    const auto* first = static_cast<const Element*>(pieces[0]) + begin;
    for (int64_t i = 0; i < length; ++i) sums[i] = Format::load(first[i]);
    for (size_t p = 1; p < pieces.size(); ++p) {
      const auto* piece = static_cast<const Element*>(pieces[p]) + begin;
      for (int64_t i = 0; i < length; ++i) sums[i] = combine(sums[i], Format::load(piece[i]));
    }
    if constexpr (std::is_floating_point_v<Accumulator> || is_complex_v<Accumulator>) {
      if (scale != 1.0)
        for (int64_t i = 0; i < length; ++i) sums[i] = static_cast<Accumulator>(sums[i] * Accumulator(scale));
    }
    auto* target = static_cast<Element*>(out) + begin;
    for (int64_t i = 0; i < length; ++i) target[i] = Format::store(sums[i]);
  }
}

template <typename Format>
void reduce_format(Reduction reduction, const std::vector<const void*>& pieces, int64_t count, double scale,
                   void* out) {
  using A = typename Format::Accumulator;
  const auto run = [&](auto combine) { reduce_blocks<Format>(pieces, count, scale, out, combine); };
  switch (reduction) {
    case Reduction::Sum: case Reduction::Average: return run([](A a, A b) -> A { return static_cast<A>(a + b); });
    case Reduction::Product: return run([](A a, A b) -> A { return static_cast<A>(a * b); });
    default: break;
  }
  if constexpr (!is_complex_v<A>) {
    switch (reduction) {
      case Reduction::Minimum: return run([](A a, A b) -> A { return b < a ? b : a; });
      case Reduction::Maximum: return run([](A a, A b) -> A { return a < b ? b : a; });
      default: break;
    }
  }
  if constexpr (std::is_integral_v<A>) {
    switch (reduction) {
      case Reduction::BitAnd: return run([](A a, A b) -> A { return static_cast<A>(a & b); });
      case Reduction::BitOr: return run([](A a, A b) -> A { return static_cast<A>(a | b); });
      case Reduction::BitXor: return run([](A a, A b) -> A { return static_cast<A>(a ^ b); });
      default: break;
    }
  }
}

// The kernel that sums elements of a type, or nullptr when the loops above do.
ReduceKernels::Sum sum_kernel(DataType type) {
  const auto& kernels = kernels::chosen<ReduceKernels>();
  switch (type) {
    case DataType::Float64: return kernels.sum_float64;
    case DataType::Float32: return kernels.sum_float32;
    case DataType::BFloat16: return kernels.sum_bfloat16;
    case DataType::Float16: return kernels.sum_float16;
    default: return nullptr;
  }
}

}  // namespace

void reduce_pieces(DataType type, Reduction reduction, const std::vector<const void*>& pieces, int64_t count,
                   double scale, void* out) {
  if (reduction == Reduction::Sum || reduction == Reduction::Average) {
    if (const auto sum = sum_kernel(type))
      return sum(pieces.data(), static_cast<int64_t>(pieces.size()), count, scale, out);
  }
  const auto run = [&](auto format) { reduce_format<decltype(format)>(reduction, pieces, count, scale, out); };
  switch (type) {
    case DataType::Float64: return run(Plain<double>{});
    case DataType::Float32: return run(Plain<float>{});
    case DataType::Float16: return run(Ieee16{});
    case DataType::BFloat16: return run(Bfloat16{});
    case DataType::Int8: return run(Plain<int8_t>{});
    case DataType::Int16: return run(Plain<int16_t>{});
    case DataType::Int32: return run(Plain<int32_t>{});
    case DataType::Int64: return run(Plain<int64_t>{});
    case DataType::UInt8: return run(Plain<uint8_t>{});
    case DataType::UInt16: return run(Plain<uint16_t>{});
    case DataType::UInt32: return run(Plain<uint32_t>{});
    case DataType::UInt64: return run(Plain<uint64_t>{});
    case DataType::Bool: return run(Boolean{});
    case DataType::Complex64: return run(Plain<std::complex<float>>{});
    case DataType::Complex128: return run(Plain<std::complex<double>>{});
    case DataType::Opaque: break;
  }
}

void widen(DataType type, const void* half, int64_t count, float* out) {
  const auto& kernels = kernels::chosen<ReduceKernels>();
  const auto widen = type == DataType::BFloat16 ? kernels.widen_bfloat16 : kernels.widen_float16;
  widen(static_cast<const uint16_t*>(half), count, out);
}

void narrow(DataType type, const float* values, int64_t count, double scale, void* half) {
  const auto& kernels = kernels::chosen<ReduceKernels>();
  const auto narrow = type == DataType::BFloat16 ? kernels.narrow_bfloat16 : kernels.narrow_float16;
  narrow(values, count, scale, static_cast<uint16_t*>(half));
}

void scale_in_place(DataType type, void* values, int64_t count, double scale) {
  const auto& kernels = kernels::chosen<ReduceKernels>();
  const int64_t length = is_complex(type) ? 2 * count : count;
  if (type == DataType::Float64 || type == DataType::Complex128)
    kernels.scale_float64(static_cast<double*>(values), length, scale);
  else
    kernels.scale_float32(static_cast<float*>(values), length, scale);
}

}  // namespace mfugaku::comm
