#include "memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace mfugaku::comm {
namespace {

[[noreturn]] void refuse(const std::string& call) { throw std::runtime_error(call + ": " + std::strerror(errno)); }

char* map(int descriptor, size_t num_bytes, int protection) {
  void* data = mmap(nullptr, num_bytes, protection, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  if (data == MAP_FAILED) refuse("mmap of " + std::to_string(num_bytes) + " bytes");
  return static_cast<char*>(data);
}

}  // namespace

SharedMemory::SharedMemory(SharedMemory&& other) noexcept { *this = std::move(other); }

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(num_bytes_, other.num_bytes_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, num_bytes_);
  seal();
}

SharedMemory SharedMemory::create(const char* name, size_t num_bytes) {
  rlimit limit{};
  // Beyond it, ftruncate would not fail but end the process with a signal.
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < num_bytes)
    throw std::runtime_error("the limit of file sizes (ulimit -f) is " + std::to_string(limit.rlim_cur) +
                             " bytes, and " + std::to_string(num_bytes) + " are needed");
  SharedMemory memory;
  memory.descriptor_ = static_cast<int>(syscall(SYS_memfd_create, name, 1u /* MFD_CLOEXEC */));
  if (memory.descriptor_ < 0) refuse("memfd_create");
  if (ftruncate(memory.descriptor_, static_cast<off_t>(num_bytes)) != 0)
    refuse("ftruncate to " + std::to_string(num_bytes) + " bytes");
  memory.data_ = map(memory.descriptor_, num_bytes, PROT_READ | PROT_WRITE);
  memory.num_bytes_ = num_bytes;
  return memory;
}

SharedMemory SharedMemory::open(const MemoryAddress& address, bool is_writable) {
  const std::string path = "/proc/" + std::to_string(address.pid) + "/fd/" + std::to_string(address.descriptor);
  SharedMemory memory;
  memory.descriptor_ = ::open(path.c_str(), (is_writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (memory.descriptor_ < 0) refuse("open of " + path);
  struct stat file {};
  if (fstat(memory.descriptor_, &file) != 0) refuse("fstat of " + path);
  if (file.st_dev != address.device || file.st_ino != address.inode)
    throw std::runtime_error(path + " is not the other rank's memory: its process numbers are not those seen here");
  memory.data_ = map(memory.descriptor_, address.num_bytes, is_writable ? PROT_READ | PROT_WRITE : PROT_READ);
  memory.num_bytes_ = address.num_bytes;
  memory.seal();
  return memory;
}

MemoryAddress SharedMemory::address() const {
  struct stat file {};
  if (fstat(descriptor_, &file) != 0) refuse("fstat");
  return {static_cast<int32_t>(getpid()), descriptor_, file.st_dev, file.st_ino, num_bytes_};
}

void SharedMemory::make_private() {
  if (data_ != nullptr && descriptor_ >= 0)
    mmap(data_, num_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, descriptor_, 0);
}

void SharedMemory::seal() {
  if (descriptor_ >= 0) close(std::exchange(descriptor_, -1));
}

}  // namespace mfugaku::comm
