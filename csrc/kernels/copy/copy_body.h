// The source of the copy kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/copy/copy.h"

namespace mfugaku::kernels {
namespace {

void stream(const void* in, int64_t num_bytes, void* out) {
  const auto* from = static_cast<const char*>(in);
  auto* to = static_cast<char*>(out);
  const auto unaligned = static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) % vec::kStreamBytes);
  const int64_t head = std::min(unaligned == 0 ? 0 : vec::kStreamBytes - unaligned, num_bytes);
  if (head > 0) std::memcpy(to, from, static_cast<size_t>(head));
  const auto streamer = vec::start_streams();
  int64_t i = head;
  for (; i + vec::kStreamBytes <= num_bytes; i += vec::kStreamBytes) vec::stream(streamer, from + i, to + i);
  vec::end_streams();
  if (i < num_bytes) std::memcpy(to + i, from + i, static_cast<size_t>(num_bytes - i));
}

const CopyKernels kCopy = {stream};

}  // namespace
}  // namespace mfugaku::kernels
