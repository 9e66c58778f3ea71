// The source of the rope kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include <cstddef>

#include "kernels/rope/rope.h"
#include "vec/vec.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

MFUGAKU_INLINE void turn(F32 a, F32 b, F32 cosine, F32 sine, F32& to_a, F32& to_b) {
  to_a = fnma(b, sine, mul(a, cosine));
  to_b = fma(a, sine, mul(b, cosine));
}

MFUGAKU_INLINE All part_of(All, int64_t, int64_t) { return {}; }
MFUGAKU_INLINE First part_of(First pairs, int64_t from, int64_t width) {
  const int64_t left = 2 * pairs.n - from;
  return {left < 0 ? 0 : left < width ? left : width};
}

// The heads of one position, whose cosines and sines are loaded once for all of them.
template <typename Format, bool interleaved> struct Heads {
  using Element = typename Format::Element;
  const Element* x;
  int64_t stride;  // from head to head of x
  Element* out;
  int64_t num_heads, width, num_pairs;
  const float *cosines, *sines;
  float sign;  // of the sines

  // As many pairs as a vector has lanes, or fewer, from pair i on, of all heads.
  template <typename Count> MFUGAKU_INLINE void turn_pairs(int64_t i, Count count) const {
    const F32 cosine = load(Float32{}, cosines + i, count);
    const F32 sine = mul(load(Float32{}, sines + i, count), broadcast(sign));
    const int64_t first = interleaved ? 2 * i : i, distance = interleaved ? lanes() : num_pairs;
    const Element* from = x + first;
    Element* to = out + first;
    for (int64_t head = 0; head < num_heads; ++head, from += stride, to += width) {
      F32 a, b;
      if (interleaved) {
        const auto low = part_of(count, 0, distance);
        const auto high = part_of(count, distance, distance);
        deinterleave(load(Format{}, from, low), load(Format{}, from + distance, high), a, b);
        turn(a, b, cosine, sine, a, b);
        F32 v, w;
        interleave(a, b, v, w);
        store(Format{}, to, v, low);
        store(Format{}, to + distance, w, high);
      } else {
        turn(load(Format{}, from, count), load(Format{}, from + distance, count), cosine, sine, a, b);
        store(Format{}, to, a, count);
        store(Format{}, to + distance, b, count);
      }
    }
  }

  MFUGAKU_INLINE void run() const {
    const int64_t step = lanes();
    int64_t i = 0;
    for (; i + step <= num_pairs; i += step) turn_pairs(i, All{});
    if (i < num_pairs) turn_pairs(i, First{num_pairs - i});
    const int64_t rotated = 2 * num_pairs, rest = width - rotated;
    if (rest == 0) return;
    for (int64_t head = 0; head < num_heads; ++head)
      __builtin_memcpy(out + head * width + rotated, x + head * stride + rotated,
                       static_cast<size_t>(rest) * sizeof(Element));
  }
};

template <typename Format, bool interleaved> void run_tasks(const RopeJob& job, int64_t begin, int64_t end) {
  using Element = typename Format::Element;
  const int64_t num_pairs = job.rotated / 2;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t position = task / job.num_batches, batch = task % job.num_batches;
    Heads<Format, interleaved>{
        static_cast<const Element*>(job.x) + position * job.position_stride + batch * job.batch_stride,
        job.head_stride,
        static_cast<Element*>(job.out) + task * job.num_heads * job.width,
        job.num_heads,
        job.width,
        num_pairs,
        job.cosines + position * num_pairs,
        job.sines + position * num_pairs,
        job.inverse ? -1.0f : 1.0f,
    }.run();
  }
}

template <typename Format> void rope(const RopeJob& job, int64_t begin, int64_t end) {
  if (job.interleaved)
    run_tasks<Format, true>(job, begin, end);
  else
    run_tasks<Format, false>(job, begin, end);
}

constexpr RopeKernels kRope = {rope<Float32>, rope<BFloat16>, rope<Float16>};

}  // namespace
}  // namespace mfugaku::kernels
