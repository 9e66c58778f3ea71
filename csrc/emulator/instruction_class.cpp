// Source of the encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), chapter C4, "A64 instruction set
// encoding".
#include "emulator/instruction_class.h"

namespace mfugaku::emulator {
namespace {

constexpr const char* kNames[kNumClasses] = {
    "sve_fma",      "sve_load",  "sve_broadcast", "sve_store", "sve_other", "neon_fma", "neon_other", "scalar_fma",
    "scalar_float", "simd_load", "simd_store",    "load",      "store",     "branch",   "system",     "integer"};

constexpr uint32_t bits(uint32_t word, int high, int low) { return word >> low & ((2u << (high - low)) - 1); }
constexpr bool bit(uint32_t word, int position) { return (word >> position & 1) != 0; }
constexpr bool matches(uint32_t word, uint32_t mask, uint32_t value) { return (word & mask) == value; }

Class classify_sve(uint32_t word) {
  if (matches(word, 0xff200000, 0x65200000)) return Class::SveFma;  // fmla fmls fnmla fnmls fmad fmsb ...
  if (matches(word, 0xff20f800, 0x64200000)) return Class::SveFma;  // fmla fmls by element
  switch (bits(word, 31, 29)) {
    case 4: return bit(word, 22) && bit(word, 15) ? Class::SveBroadcast : Class::SveLoad;
    case 5: return bits(word, 22, 21) == 0 && bits(word, 15, 14) == 0 ? Class::SveBroadcast : Class::SveLoad;  // ld1rq
    case 6: return Class::SveLoad;
    case 7: return Class::SveStore;
    default: return Class::SveOther;
  }
}

bool is_load(uint32_t word, bool simd) {
  switch (bits(word, 29, 28)) {
    case 1: return !bit(word, 24) || bits(word, 23, 22) != 0;      // literals; ldapur and stlur
    case 3: return simd ? bit(word, 22) : bits(word, 23, 22) != 0;  // signed loads have bit 23 alone; atomics load too
    default: return bit(word, 22);                                  // exclusives, structures, pairs
  }
}

bool is_neon_fma(uint32_t word) {
  return matches(word, 0xbf20fc00, 0x0e20cc00) ||  // fmla fmls of floats and doubles
         matches(word, 0xbf60fc00, 0x0e400c00) ||  // of halves
         matches(word, 0xbf80b400, 0x0f801000) ||  // by element
         matches(word, 0xbfc0b400, 0x0f001000);    // by element, of halves
}

Class classify_float(uint32_t word) {
  if (matches(word, 0xff000000, 0x1f000000)) return Class::ScalarFma;  // fmadd fmsub fnmadd fnmsub
  if (matches(word, 0xff80b400, 0x5f801000)) return Class::ScalarFma;  // fmla fmls by element
  if (is_neon_fma(word)) return Class::NeonFma;
  return matches(word, 0x5f000000, 0x1e000000) ? Class::ScalarFloat : Class::NeonOther;
}

}  // namespace

const char* name_of(Class kind) { return kNames[static_cast<int>(kind)]; }

Class classify(uint32_t word) {
  const uint32_t group = bits(word, 28, 25);
  if (group == 2) return classify_sve(word);
  if ((group & 5) == 4) {
    const bool simd = bit(word, 26);
    if (is_load(word, simd)) return simd ? Class::SimdLoad : Class::Load;
    return simd ? Class::SimdStore : Class::Store;
  }
  if ((group & 14) == 10) return bits(word, 31, 24) == 0xd5 ? Class::System : Class::Branch;
  if ((group & 7) == 7) return classify_float(word);
  return Class::Integer;
}

}  // namespace mfugaku::emulator
