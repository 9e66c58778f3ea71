#include "streams.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "../reduce.h"
#include "kernels/copy/copy.h"
#include "kernels/registry.h"

namespace mfugaku::comm::shared {
namespace {

// Where the system does not tell: the last cache of a CMG of the A64FX.
constexpr int64_t kUsualCacheBytes = int64_t{8} << 20;
// Stays in the nearest cache between its reduction and its copy.
constexpr int64_t kBlockBytes = 16 * 1024;

// Half of the largest cache, which other data wants too. Measured with a caller that makes what is gathered and reads
// the result: 96 MiB of 260 MiB are better kept, 192 MiB are not.
int64_t usable_cache_bytes() {
  const int64_t known = std::max<int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE), sysconf(_SC_LEVEL2_CACHE_SIZE));
  return (known > 0 ? known : kUsualCacheBytes) / 2;
}

std::atomic<int64_t>& cache_bytes() {
  static std::atomic<int64_t> num_bytes{usable_cache_bytes()};
  return num_bytes;
}

}  // namespace

bool exceeds_caches(int64_t num_bytes) { return num_bytes > cache_bytes().load(std::memory_order_relaxed); }

void set_cache_bytes(int64_t num_bytes) { cache_bytes().store(num_bytes > 0 ? num_bytes : usable_cache_bytes()); }

void copy(void* to, const void* from, int64_t num_bytes, bool streams) {
  if (num_bytes <= 0) return;
  if (streams)
    kernels::chosen<kernels::CopyKernels>().stream(from, num_bytes, to);
  else
    std::memcpy(to, from, static_cast<size_t>(num_bytes));
}

void reduce_into(DataType type, Reduction reduction, const std::vector<const void*>& pieces, int64_t count, double scale,
                 void* out, bool streams) {
  if (!streams) return reduce_pieces(type, reduction, pieces, count, scale, out);
  alignas(256) char block[kBlockBytes];
  std::vector<const void*> parts(pieces.size());
  const int64_t element_bytes = size_of(type), in_block = kBlockBytes / element_bytes;
  for (int64_t begin = 0; begin < count; begin += in_block) {
    const int64_t length = std::min(in_block, count - begin), offset = begin * element_bytes;
    for (size_t i = 0; i < pieces.size(); ++i) parts[i] = static_cast<const char*>(pieces[i]) + offset;
    reduce_pieces(type, reduction, parts, length, scale, block);
    copy(static_cast<char*>(out) + offset, block, length * element_bytes, true);
  }
}

}  // namespace mfugaku::comm::shared
