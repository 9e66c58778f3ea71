// What kind of work an instruction of aarch64 is, from its word alone.
#pragma once

#include <cstdint>

namespace mfugaku::emulator {

enum class Class {
  SveFma,        // multiply-add of floating-point vectors
  SveLoad,       // contiguous and gathering, of vectors and predicates; prefetches too
  SveBroadcast,  // ld1r*: loads one element, or one quadword, into all lanes
  SveStore,
  SveOther,
  NeonFma,
  NeonOther,
  ScalarFma,
  ScalarFloat,
  SimdLoad,  // of scalar floating-point and NEON registers
  SimdStore,
  Load,
  Store,
  Branch,
  System,
  Integer,
};
constexpr int kNumClasses = 16;

const char* name_of(Class kind);
Class classify(uint32_t word);

// Multiply-adds of any width, by which work of matrix products is shared out and compared.
inline bool is_fma(Class kind) { return kind == Class::SveFma || kind == Class::NeonFma || kind == Class::ScalarFma; }

}  // namespace mfugaku::emulator
