// The source of the reduce kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/reduce/reduce.h"
#include "vec/rows.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

// More pieces than this are summed in several passes, so that no pass reads from more streams than a core prefetches.
constexpr int64_t kFanIn = 8;
constexpr int64_t kBlock = 2048;  // partial sums of several passes stay in the L1 cache

template <typename Sum> struct Scale;
template <> struct Scale<Float32> { using Type = float; };
template <> struct Scale<Float64> { using Type = double; };
template <typename Format> using ScaleOf = typename Scale<typename Format::Sum>::Type;

MFUGAKU_INLINE int64_t lanes_of(Float32) { return lanes(); }
MFUGAKU_INLINE int64_t lanes_of(Float64) { return lanes64(); }

// One stretch of memory to sum: out[i] = scale * (first[i] + rest[0][from + i] + ...).
template <typename First, typename In, typename Out> struct Job {
  const typename First::Element* first;
  const void* const* rest;
  int64_t num_rest;
  int64_t from;
  ScaleOf<In> scale;
  typename Out::Element* out;

  MFUGAKU_INLINE const typename In::Element* piece(int64_t p, int64_t i) const {
    return static_cast<const typename In::Element*>(rest[p]) + from + i;
  }
};

template <bool scaled, typename First, typename In, typename Out, typename Count>
MFUGAKU_INLINE void sum_vector(const Job<First, In, Out>& job, int64_t i, Count count) {
  auto sum = load(First{}, job.first + i, count);
  for (int64_t p = 0; p < job.num_rest; ++p) sum = add(sum, load(In{}, job.piece(p, i), count));
  if (scaled) sum = mul(sum, broadcast(job.scale));
  store(Out{}, job.out + i, sum, count);
}

// Four vectors at once: additions of one wait for no other.
template <bool scaled, typename First, typename In, typename Out>
MFUGAKU_INLINE void sum_four_vectors(const Job<First, In, Out>& job, int64_t i, int64_t width) {
  auto a = load(First{}, job.first + i, All{});
  auto b = load(First{}, job.first + i + width, All{});
  auto c = load(First{}, job.first + i + 2 * width, All{});
  auto d = load(First{}, job.first + i + 3 * width, All{});
  for (int64_t p = 0; p < job.num_rest; ++p) {
    const auto* piece = job.piece(p, i);
    a = add(a, load(In{}, piece, All{}));
    b = add(b, load(In{}, piece + width, All{}));
    c = add(c, load(In{}, piece + 2 * width, All{}));
    d = add(d, load(In{}, piece + 3 * width, All{}));
  }
  if (scaled) {
    const auto scale = broadcast(job.scale);
    a = mul(a, scale);
    b = mul(b, scale);
    c = mul(c, scale);
    d = mul(d, scale);
  }
  store(Out{}, job.out + i, a, All{});
  store(Out{}, job.out + i + width, b, All{});
  store(Out{}, job.out + i + 2 * width, c, All{});
  store(Out{}, job.out + i + 3 * width, d, All{});
}

template <bool scaled, typename First, typename In, typename Out>
void sum_elements(const Job<First, In, Out>& job, int64_t count) {
  const int64_t width = lanes_of(typename In::Sum{});
  int64_t i = 0;
  for (; i + 4 * width <= count; i += 4 * width) sum_four_vectors<scaled>(job, i, width);
  for (; i + width <= count; i += width) sum_vector<scaled>(job, i, All{});
  if (i < count) sum_vector<scaled>(job, i, vec::First{count - i});
}

template <typename First, typename In, typename Out>
void run(const Job<First, In, Out>& job, int64_t count) {
  if (job.scale == 1)
    sum_elements<false>(job, count);
  else
    sum_elements<true>(job, count);
}

template <typename Format>
void sum(const void* const* pieces, int64_t num_pieces, int64_t count, double scale, void* out) {
  using Element = typename Format::Element;
  using Sum = typename Format::Sum;
  const auto factor = static_cast<ScaleOf<Format>>(scale);
  auto* const target = static_cast<Element*>(out);
  if (num_pieces <= kFanIn) {
    run(Job<Format, Format, Format>{static_cast<const Element*>(pieces[0]), pieces + 1, num_pieces - 1, 0, factor,
                                    target}, count);
    return;
  }
  typename Sum::Element sums[kBlock];
  for (int64_t from = 0; from < count; from += kBlock) {
    const int64_t length = count - from < kBlock ? count - from : kBlock;
    const auto* const first = static_cast<const Element*>(pieces[0]) + from;
    run(Job<Format, Format, Sum>{first, pieces + 1, kFanIn - 1, from, 1, sums}, length);
    int64_t done = kFanIn;
    for (; num_pieces - done > kFanIn; done += kFanIn)
      run(Job<Sum, Format, Sum>{sums, pieces + done, kFanIn, from, 1, sums}, length);
    run(Job<Sum, Format, Format>{sums, pieces + done, num_pieces - done, from, factor, target + from}, length);
  }
}

template <typename Format> void widen(const uint16_t* in, int64_t count, float* out) {
  run(Job<Format, Format, Float32>{in, nullptr, 0, 0, 1, out}, count);
}

template <typename Format> void narrow(const float* in, int64_t count, double scale, uint16_t* out) {
  run(Job<Float32, Float32, Format>{in, nullptr, 0, 0, static_cast<float>(scale), out}, count);
}

template <typename Format> double squares(const void* in, int64_t count) {
  const auto* const elements = static_cast<const typename Format::Element*>(in);
  double total = 0;
  for (int64_t from = 0; from < count; from += kSquares) {
    const auto* const x = elements + from;
    total += static_cast<double>(sum_row(count - from < kSquares ? count - from : kSquares,
                                         [=](F32& sum, int64_t i, auto number) {
                                           const F32 v = load(Format{}, x + i, number);
                                           sum = fma(v, v, sum);
                                         }));
  }
  return total;
}

template <typename Format>
void scale_in_place(typename Format::Element* values, int64_t count, double scale) {
  run(Job<Format, Format, Format>{values, nullptr, 0, 0, static_cast<ScaleOf<Format>>(scale), values}, count);
}

constexpr ReduceKernels kReduce = {
    sum<Float32>,           sum<Float64>,
    sum<BFloat16>,          sum<Float16>,
    widen<BFloat16>,        widen<Float16>,
    narrow<BFloat16>,       narrow<Float16>,
    squares<Float32>,       squares<BFloat16>,      squares<Float16>,
    scale_in_place<Float32>, scale_in_place<Float64>,
};

}  // namespace
}  // namespace mfugaku::kernels
