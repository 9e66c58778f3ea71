#include "kernels/isa.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#include <sys/prctl.h>
#endif

namespace mfugaku::kernels {
namespace {

constexpr const char* kNames[kNumIsas] = {"portable", "avx2", "avx512", "neon", "sve"};

#if defined(__aarch64__)
// Values of the kernel's interface, which older system headers lack.
constexpr unsigned long kHwcapSve = 1ul << 22, kHwcapAsimdHp = 1ul << 10;
constexpr unsigned long kHwcap2SveBf16 = 1ul << 12, kHwcap2Bf16 = 1ul << 14;
constexpr int kPrSveGetVl = 51;
constexpr int kVectorLengthMask = 0xffff;
#endif

}  // namespace

const char* name_of(Isa isa) { return kNames[static_cast<int>(isa)]; }

bool parse_isa(const std::string& name, Isa& isa) {
  for (int i = 0; i < kNumIsas; ++i)
    if (name == kNames[i]) return isa = static_cast<Isa>(i), true;
  return false;
}

bool is_supported(Isa isa) {
  if (isa == Isa::Portable) return true;
#if defined(__x86_64__)
  // These ask the operating system too: without its support for wide registers they are false.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (isa == Isa::Avx2) return avx2;
  if (isa == Isa::Avx512)
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#elif defined(__aarch64__)
  if (isa == Isa::Neon) return true;
  if (isa == Isa::Sve) return sve_vector_bytes() > 0;
#endif
  return false;
}

int sve_vector_bytes() {
#if defined(__aarch64__)
  if (getauxval(AT_HWCAP) & kHwcapSve) {
    const int answer = prctl(kPrSveGetVl);
    if (answer > 0) return answer & kVectorLengthMask;
  }
#endif
  return 0;
}

bool neon_has_float16() {
#if defined(__aarch64__)
  return (getauxval(AT_HWCAP) & kHwcapAsimdHp) != 0;
#else
  return false;
#endif
}

bool neon_has_bfloat16() {
#if defined(__aarch64__)
  return (getauxval(AT_HWCAP2) & kHwcap2Bf16) != 0;
#else
  return false;
#endif
}

bool sve_has_bfloat16() {
#if defined(__aarch64__)
  return (getauxval(AT_HWCAP2) & kHwcap2SveBf16) != 0;
#else
  return false;
#endif
}

std::string describe_cpu() {
  std::string words;
  for (const Isa isa : {Isa::Avx512, Isa::Avx2, Isa::Sve, Isa::Neon, Isa::Portable}) {
    if (!is_supported(isa)) continue;
    if (!words.empty()) words += ", ";
    words += name_of(isa);
    if (isa == Isa::Sve) words += " (" + std::to_string(8 * sve_vector_bytes()) + "-bit vectors)";
  }
  return words;
}

}  // namespace mfugaku::kernels
