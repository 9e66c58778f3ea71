// What the tests of all kernels share: arrays between guard pages, numbers worth trying, halves computed the slow way.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/registry.h"

namespace mfugaku::tests {

enum class Edge { AtStart, AtEnd };

// `count` elements that touch an inaccessible page before the first (AtStart) or behind the last of them (AtEnd): a
// kernel that reads or writes outside dies. The memory between the elements and the other page is checked by intact().
template <typename T> class Guarded {
 public:
  Guarded(int64_t count, Edge edge) : count_(count), page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    inner_ = (bytes / page_ + 1) * page_;
    base_ = static_cast<char*>(
        mmap(nullptr, inner_ + 2 * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) std::abort();
    std::memset(base_, kFill, inner_ + 2 * page_);
    mprotect(base_, page_, PROT_NONE);
    mprotect(base_ + page_ + inner_, page_, PROT_NONE);
    data_ = reinterpret_cast<T*>(base_ + page_ + (edge == Edge::AtStart ? 0 : inner_ - bytes));
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(base_, inner_ + 2 * page_); }

  T* data() { return data_; }
  int64_t size() const { return count_; }
  T& operator[](int64_t i) { return data_[i]; }

  bool intact() const {
    const char* const end = reinterpret_cast<const char*>(data_ + count_);
    for (const char* p = base_ + page_; p < base_ + page_ + inner_; ++p)
      if ((p < reinterpret_cast<const char*>(data_) || p >= end) && *p != kFill) return false;
    return true;
  }

 private:
  static constexpr char kFill = 0x5a;
  int64_t count_;
  size_t page_, inner_ = 0;
  char* base_ = nullptr;
  T* data_ = nullptr;
};

// A small generator, the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    state_ += 0x9e3779b97f4a7c15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  double between(double low, double high) { return low + (high - low) * static_cast<double>(bits() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

// Runs a body on ranges at the same time, each of some threads on every so many-th of them.
template <typename Body>
void on_threads(const std::vector<std::pair<int64_t, int64_t>>& ranges, const Body& body) {
  const size_t num_threads = std::min<size_t>(3, ranges.size());
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < num_threads; ++thread)
    threads.emplace_back([&, thread] {
      for (size_t i = thread; i < ranges.size(); i += num_threads) body(ranges[i].first, ranges[i].second);
    });
  for (std::thread& thread : threads) thread.join();
}

// Philox4x32-10, as its paper has it.
using Words = std::array<uint32_t, 4>;

inline Words philox(Words counter, uint64_t key) {
  auto key0 = static_cast<uint32_t>(key), key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t first = 0xd2511f53ull * counter[0], second = 0xcd9e8d57ull * counter[2];
    counter = {static_cast<uint32_t>(second >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(second),
               static_cast<uint32_t>(first >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(first)};
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return counter;
}

// Sizes around multiples of every vector length from 1 to 64 lanes, and of four vectors.
inline std::vector<int64_t> sizes() {
  std::vector<int64_t> result = {0, 1, 2, 3, 5};
  for (int64_t width = 4; width <= 256; width *= 2)
    for (const int64_t step : {-1, 0, 1}) result.push_back(width + step);
  result.push_back(1000);
  return result;
}

template <typename To, typename From> To bit_cast(From value) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}

// Equal as bits, or both a NaN.
inline bool same(float a, float b) { return bit_cast<uint32_t>(a) == bit_cast<uint32_t>(b) || (a != a && b != b); }
inline bool same(double a, double b) { return bit_cast<uint64_t>(a) == bit_cast<uint64_t>(b) || (a != a && b != b); }

// A binary format of 16 bits by its definition: sign, exponent of `exponent_bits`, mantissa.
struct HalfFormat {
  int exponent_bits, mantissa_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  double value(uint16_t bits) const {
    const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
    const double mantissa = bits & ((1 << mantissa_bits) - 1);
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
      return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
    if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias() - mantissa_bits);
    return sign * std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias() - mantissa_bits);
  }
  bool is_nan(uint16_t bits) const { return value(bits) != value(bits); }
  // Nearest, ties to even, as the definition of the format says. Not for a NaN.
  uint16_t nearest(double v) const {
    const uint16_t sign = std::signbit(v) ? 0x8000 : 0;
    const double magnitude = std::fabs(v);
    const uint16_t infinity = static_cast<uint16_t>(((1 << exponent_bits) - 1) << mantissa_bits);
    if (std::isinf(v)) return sign | infinity;
    int exponent = 1 - bias();
    if (magnitude >= std::ldexp(1, 1 - bias())) exponent = std::ilogb(magnitude);
    const double steps = std::nearbyint(std::ldexp(magnitude, mantissa_bits - exponent));
    const double rounded = std::ldexp(steps, exponent - mantissa_bits);
    if (rounded >= std::ldexp(2, bias())) return sign | infinity;
    if (rounded < std::ldexp(1, 1 - bias())) return sign | static_cast<uint16_t>(steps);
    exponent = std::ilogb(rounded);
    const double mantissa = std::ldexp(rounded, mantissa_bits - exponent) - (1 << mantissa_bits);
    return static_cast<uint16_t>(sign | ((exponent + bias()) << mantissa_bits) | static_cast<int>(mantissa));
  }
};
inline constexpr HalfFormat kBFloat16{8, 7}, kFloat16{5, 10};

inline bool same(const HalfFormat& format, uint16_t a, uint16_t b) {
  return a == b || (format.is_nan(a) && format.is_nan(b));
}

inline std::vector<float> uniform(int64_t count, uint64_t seed, double low = -4, double high = 4) {
  Random random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = static_cast<float>(random.between(low, high));
  return values;
}

template <typename T> void copy_into(Guarded<T>& to, const std::vector<T>& from) {
  for (int64_t i = 0; i < to.size(); ++i) to[i] = from[static_cast<size_t>(i)];
}

// Floats and doubles of all kinds: ordinary ones, zeros, subnormals, infinities, NaNs and any bits.
inline float any_float(Random& random) {
  switch (random.bits() % 16) {
    case 0: return 0.0f;
    case 1: return -0.0f;
    case 2: return std::numeric_limits<float>::infinity();
    case 3: return std::numeric_limits<float>::quiet_NaN();
    case 4: return bit_cast<float>(static_cast<uint32_t>(random.bits() & 0x807fffffu));  // subnormal
    case 5: case 6: return bit_cast<float>(static_cast<uint32_t>(random.bits()));
    default: return static_cast<float>(random.between(-4, 4));
  }
}

// What is run on one instruction set must have this number on the others: of all bits, but for which NaN a NaN is.
inline uint64_t fingerprint(const std::vector<float>& values, uint64_t state = 14695981039346656037ull) {
  for (const float v : values) state = (state ^ (v != v ? 0x7fc00000u : bit_cast<uint32_t>(v))) * 1099511628211ull;
  return state;
}

// Runs `check` on the kernels of a family for every instruction set that this CPU has.
template <typename Family, typename Check> void for_every_isa(Check check) {
  for (int i = 0; i < kernels::kNumIsas; ++i) {
    const auto isa = static_cast<kernels::Isa>(i);
    if (const Family* family = kernels::kernels_for<Family>(isa)) check(std::string(kernels::name_of(isa)), *family);
  }
}

// While one lives, the CPU flushes subnormal numbers to zero.
class FlushToZero {
 public:
  FlushToZero();
  ~FlushToZero();

 private:
  uint64_t before_;
};

}  // namespace mfugaku::tests
