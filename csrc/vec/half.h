// bfloat16 and IEEE float16 to and from float32, rounding to nearest even; a NaN stays a NaN, but not which. Only normal
// float32 arithmetic is used, so that results do not change under flush-to-zero; written without branches so that
// compilers vectorise the loops around them. Baseline instructions: not for files with flags of their own.
#pragma once

#include <cstdint>
#include <cstring>

namespace mfugaku::vec {

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float bfloat16_to_float(uint16_t half) { return float_of(static_cast<uint32_t>(half) << 16); }

static inline uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

static inline float float16_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fffu) << 13;
  const uint32_t exponent = magnitude & 0x0f800000u;
  const uint32_t normal = magnitude + (112u << 23);
  const uint32_t infinite = magnitude | 0x7f800000u;
  // A subnormal m * 2^-24 is (2^-14 + m * 2^-24) - 2^-14, both of them normal float32.
  const uint32_t subnormal = bits_of(float_of(magnitude + (113u << 23)) - float_of(113u << 23));
  const uint32_t bits = exponent == 0x0f800000u ? infinite : exponent == 0 ? subnormal : normal;
  return float_of(bits | sign);
}

static inline uint16_t float_to_float16(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Rounding up from the largest finite value carries into the exponent and gives infinity, as it should.
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Adding 0.5 aligns a magnitude below 2^-14 so that the sum's last mantissa bit weighs 2^-24.
  const uint32_t subnormal = bits_of(float_of(magnitude < (113u << 23) ? magnitude : 0u) + 0.5f) - bits_of(0.5f);
  const uint32_t large = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t finite = magnitude < (113u << 23) ? subnormal : normal;
  return static_cast<uint16_t>(sign | (magnitude >= (143u << 23) ? large : finite));
}

}  // namespace mfugaku::vec
