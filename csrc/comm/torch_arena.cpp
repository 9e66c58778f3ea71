#include "torch_arena.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <stdexcept>
#include <utility>

#include "shared/arena.h"

namespace mfugaku::comm {
namespace {

constexpr int64_t kNone = -1;
std::atomic<int64_t> min_bytes_of_all{kNone};
thread_local int64_t min_bytes_of_thread = kNone;

void release(void* block) { Arena::instance().release(block); }

// Stands before another allocator of CPU memory and takes from it what is not to lie in the arena.
class ArenaAllocator : public c10::Allocator {
 public:
  explicit ArenaAllocator(c10::Allocator* others) { behind = others; }

  c10::DataPtr allocate(size_t num_bytes) override {
    if (is_for_arena(num_bytes)) {
      if (void* block = Arena::instance().allocate(static_cast<int64_t>(num_bytes)))
        return {block, block, &release, c10::Device(c10::DeviceType::CPU)};
    }
    return behind->allocate(num_bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release_any; }
  void copy_data(void* to, const void* from, size_t num_bytes) const override {
    default_copy_data(to, from, num_bytes);
  }

 private:
  static bool is_for_arena(size_t num_bytes) {
    const int64_t own = min_bytes_of_thread;
    const int64_t least = own != kNone ? own : min_bytes_of_all.load(std::memory_order_relaxed);
    return least != kNone && static_cast<int64_t>(num_bytes) >= least && num_bytes > 0;
  }
  static void release_any(void* block) {
    if (Arena::instance().offset_of(block, 1) >= 0)
      release(block);
    else
      behind->raw_deleter()(block);
  }

  static c10::Allocator* behind;
};

c10::Allocator* ArenaAllocator::behind = nullptr;

}  // namespace

std::string open_arena(int64_t capacity_bytes) {
  Arena::instance().set_capacity(capacity_bytes);
  return Arena::instance().refusal();
}

bool is_arena_shared() { return Arena::instance().is_shared(); }

at::Tensor arena_empty(int64_t count, const at::Tensor& like) {
  Arena& arena = Arena::instance();
  const std::string refusal = arena.refusal();
  if (!refusal.empty()) throw std::runtime_error(refusal);
  const int64_t num_bytes = count * static_cast<int64_t>(like.element_size());
  void* block = arena.allocate(num_bytes);
  if (block == nullptr) throw std::runtime_error("no room is left in it for " + std::to_string(num_bytes) + " bytes");
  return at::from_blob(block, {count}, &release, like.options());
}

bool arena_holds(const at::Tensor& tensor) {
  return Arena::instance().offset_of(tensor.storage().data(), static_cast<int64_t>(tensor.storage().nbytes())) >= 0;
}

int64_t place_in_arena(int64_t min_bytes, bool this_thread_alone) {
  static ArenaAllocator* const allocator = [] {
    auto* made = new ArenaAllocator(c10::GetCPUAllocator());  // never destroyed: memory may be freed during exit
    c10::SetCPUAllocator(made);
    return made;
  }();
  static_cast<void>(allocator);
  if (this_thread_alone) return std::exchange(min_bytes_of_thread, min_bytes);
  return min_bytes_of_all.exchange(min_bytes);
}

}  // namespace mfugaku::comm
