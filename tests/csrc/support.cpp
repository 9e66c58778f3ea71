#include "support.h"

namespace mfugaku::tests {
namespace {

#if defined(__x86_64__)
constexpr uint64_t kFlush = 0x8040;  // flush to zero, denormals are zero
uint64_t control() { return __builtin_ia32_stmxcsr(); }
void set_control(uint64_t word) { __builtin_ia32_ldmxcsr(static_cast<unsigned>(word)); }
#elif defined(__aarch64__)
constexpr uint64_t kFlush = 1ull << 24;
uint64_t control() {
  uint64_t word;
  asm volatile("mrs %0, fpcr" : "=r"(word));
  return word;
}
void set_control(uint64_t word) { asm volatile("msr fpcr, %0" : : "r"(word)); }
#else
constexpr uint64_t kFlush = 0;
uint64_t control() { return 0; }
void set_control(uint64_t) {}
#endif

}  // namespace

FlushToZero::FlushToZero() : before_(control()) { set_control(before_ | kFlush); }
FlushToZero::~FlushToZero() { set_control(before_); }

}  // namespace mfugaku::tests
