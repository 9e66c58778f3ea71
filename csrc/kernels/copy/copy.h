// Copies past the caches: for results that are longer than the caches, so that their memory is not read before it is
// written, and what the caches hold stays there.
//
// Pointers need no alignment; nothing outside the given bytes is read or written. When `stream` returns, its stores are
// ordered before any later store of this thread, as other threads see them.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

struct CopyKernels {
  static constexpr const char* kOp = "copy";

  // out[i] = in[i] for i < num_bytes; no overlap.
  void (*stream)(const void* in, int64_t num_bytes, void* out);
};

extern const CopyKernels copy_portable, copy_avx2, copy_avx512, copy_neon, copy_sve;

}  // namespace mfugaku::kernels
