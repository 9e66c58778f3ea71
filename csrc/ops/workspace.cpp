#include "ops/workspace.h"

#include <memory>
#include <new>

namespace mfugaku::ops {
namespace {

constexpr std::align_val_t kAlignment{64};

struct Release {
  void operator()(float* memory) const { ::operator delete(memory, kAlignment); }
};

}  // namespace

float* workspace(int64_t count) {
  thread_local std::unique_ptr<float, Release> memory;
  thread_local int64_t capacity = 0;
  if (count > capacity) {
    memory.reset();
    capacity = 0;
    memory.reset(static_cast<float*>(::operator new(static_cast<size_t>(count) * sizeof(float), kAlignment)));
    capacity = count;
  }
  return memory.get();
}

}  // namespace mfugaku::ops
