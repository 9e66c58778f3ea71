// The marks between which counter.cpp counts: two hints that the architecture gives no meaning, so that a program with
// them runs on any aarch64 processor, where they do nothing.
#pragma once

#include <cstdint>

namespace mfugaku::emulator {

constexpr uint32_t kBegin = 0xd5032f1f;  // hint #120
constexpr uint32_t kEnd = 0xd5032f3f;    // hint #121

#if defined(__aarch64__)
// The compiler moves no access of memory across them.
inline void begin_region() { asm volatile("hint #120" : : : "memory"); }
inline void end_region() { asm volatile("hint #121" : : : "memory"); }
#endif

}  // namespace mfugaku::emulator
