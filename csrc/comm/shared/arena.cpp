#include "arena.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace mfugaku::comm {
namespace {

// Free blocks keep their pages up to this part of the capacity.
constexpr int64_t kKeptPart = 16;

}  // namespace

Arena& Arena::instance() {
  static auto* arena = new Arena();  // never destroyed: tensors may be freed during process exit
  return *arena;
}

void Arena::set_capacity(int64_t num_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!is_made_) capacity_ = num_bytes;
}

void Arena::make() {
  if (is_made_) return;
  is_made_ = true;
  unit_ = sysconf(_SC_PAGESIZE);
  if (capacity_ <= 0) capacity_ = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * unit_;
  capacity_ = std::max<int64_t>(1, capacity_ / unit_) * unit_;
  try {
    memory_ = SharedMemory::create("mfugaku arena", static_cast<size_t>(capacity_));
    address_ = memory_.address();
    free_[0] = capacity_;
    watch_forks();
  } catch (const std::exception& error) {
    refusal_ = error.what();
  }
}

void Arena::watch_forks() {
  pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                 [] {
                   Arena& arena = instance();
                   arena.is_child_ = true;
                   arena.refusal_ = "this process was forked from the one that has the arena";
                   arena.memory_.make_private();
                   arena.mutex_.unlock();
                 });
}

std::string Arena::refusal() {
  std::lock_guard<std::mutex> lock(mutex_);
  make();
  return refusal_;
}

MemoryAddress Arena::address() {
  std::lock_guard<std::mutex> lock(mutex_);
  make();
  return address_;
}

void* Arena::allocate(int64_t num_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  make();
  if (is_child_) return nullptr;
  const int64_t wanted = std::max<int64_t>(1, (num_bytes + unit_ - 1) / unit_) * unit_;
  for (auto block = free_.begin(); block != free_.end(); ++block) {
    const auto [offset, length] = *block;
    if (length < wanted) continue;
    free_.erase(block);
    if (length > wanted) free_[offset + wanted] = length - wanted;
    used_[offset] = wanted;
    kept_ -= std::min(kept_, wanted);
    return memory_.data() + offset;
  }
  return nullptr;
}

void Arena::release(void* block) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (is_child_) return;
  const auto found = used_.find(static_cast<char*>(block) - memory_.data());
  if (found == used_.end()) return;
  const auto [offset, length] = *found;
  used_.erase(found);
  if (kept_ + length <= capacity_ / kKeptPart)
    kept_ += length;
  else
    madvise(block, static_cast<size_t>(length), MADV_REMOVE);
  give_back(offset, length);
}

void Arena::give_back(int64_t offset, int64_t length) {
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && offset + length == next->first) {
    length += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == offset) {
      previous->second += length;
      return;
    }
  }
  free_[offset] = length;
}

int64_t Arena::offset_of(const void* data, int64_t num_bytes) {
  const char* first = memory_.data();  // does not change once it is there
  if (first == nullptr || data < first) return -1;
  const int64_t offset = static_cast<const char*>(data) - first;
  return offset + num_bytes <= static_cast<int64_t>(memory_.num_bytes()) ? offset : -1;
}

char* Arena::open(const MemoryAddress& address) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (address.num_bytes == 0) return nullptr;
  if (address.pid == address_.pid && address.inode == address_.inode) return memory_.data();
  const auto key = std::make_pair(address.pid, address.inode);
  auto found = others_.find(key);
  if (found == others_.end()) {
    try {
      found = others_.emplace(key, SharedMemory::open(address, true)).first;
    } catch (const std::exception&) {
      return nullptr;
    }
  }
  is_shared_.store(true, std::memory_order_relaxed);
  return found->second.data();
}

}  // namespace mfugaku::comm
