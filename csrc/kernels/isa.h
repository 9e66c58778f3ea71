// The instruction sets that kernels are compiled for, and which of them this CPU has.
#pragma once

#include <string>

namespace mfugaku::kernels {

enum class Isa { Portable, Avx2, Avx512, Neon, Sve };
constexpr int kNumIsas = 5;

const char* name_of(Isa isa);

// False when `name` is none of the names above.
bool parse_isa(const std::string& name, Isa& isa);

// True when this CPU and operating system can execute what is compiled for `isa`.
bool is_supported(Isa isa);

// Bytes of an SVE vector of this thread, 0 without SVE.
int sve_vector_bytes();

// True when this CPU's NEON has arithmetic of float16 (FEAT_FP16).
bool neon_has_float16();

// True when this CPU's NEON, or SVE, multiplies matrices of bfloat16 (FEAT_BF16).
bool neon_has_bfloat16();
bool sve_has_bfloat16();

// One line for people, such as "avx512, avx2, portable" or "sve (512-bit vectors), neon, portable".
std::string describe_cpu();

}  // namespace mfugaku::kernels
