#include "scratch.h"

#include <cstdlib>
#include <new>

namespace mfugaku::comm {

Scratch& Scratch::instance() {
  static auto* pool = new Scratch();  // never destroyed: blocks may be returned during process exit
  return *pool;
}

std::shared_ptr<char> Scratch::acquire(int64_t num_bytes) {
  const size_t wanted = ((num_bytes > 0 ? static_cast<size_t>(num_bytes) : 1) + 255) / 256 * 256;
  Scratch& pool = instance();
  char* block = nullptr;
  size_t size = wanted;
  {
    std::lock_guard<std::mutex> lock(pool.mutex_);
    const auto found = pool.free_.lower_bound(wanted);
    if (found != pool.free_.end() && found->first <= 4 * wanted) {
      size = found->first;
      block = found->second;
      pool.free_bytes_ -= size;
      pool.free_.erase(found);
    }
  }
  if (block == nullptr) block = static_cast<char*>(std::aligned_alloc(256, size));
  if (block == nullptr) throw std::bad_alloc();
  return {block, [size](char* memory) { instance().release(memory, size); }};
}

void Scratch::release(char* block, size_t num_bytes) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (free_bytes_ + num_bytes <= kMaxPooledBytes) {
      free_.emplace(num_bytes, block);
      free_bytes_ += num_bytes;
      return;
    }
  }
  std::free(block);
}

}  // namespace mfugaku::comm
