// The source of the softmax kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include <cstddef>
#include <type_traits>

#include "kernels/softmax/softmax.h"
#include "vec/math.h"
#include "vec/rows.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

constexpr float kSmallest = -86.0f;
constexpr float kSmallestPower = 0x1.caac26p-118f;  // scaled_exp_for_quotients(kSmallest)

// e^x at some scale for x <= 0, and +0 from kSmallest downwards, so that no product of it is a subnormal number.
MFUGAKU_INLINE F32 scaled_exp_or_zero(F32 x) {
  return sub(scaled_exp_for_quotients(at_least(x, broadcast(kSmallest))), broadcast(kSmallestPower));
}

struct Row {
  int64_t index, num_visible;
};

MFUGAKU_INLINE Row row_of_task(const SoftmaxJob& job, int64_t task) {
  if (!job.causal) return {task, job.num_columns};
  const int64_t matrix = task / job.num_queries, turn = task % job.num_queries;
  const int64_t num_blocks = job.num_queries / kSoftmaxBlock, block = turn / kSoftmaxBlock;
  const int64_t place = block % 2 == 0 ? block / 2 : num_blocks - 1 - block / 2;
  const int64_t query = block < num_blocks ? place * kSoftmaxBlock + turn % kSoftmaxBlock : turn;
  return {matrix * job.num_queries + query, job.num_columns - job.num_queries + query + 1};
}

template <typename Element> MFUGAKU_INLINE void clear(Element* out, int64_t length) {
  if (length > 0) __builtin_memset(out, 0, static_cast<size_t>(length) * sizeof(Element));
}

template <typename Format> void softmax(const SoftmaxJob& job, int64_t begin, int64_t end, float* buffer) {
  using Element = typename Format::Element;
  const float scale = job.scale;
  for (int64_t task = begin; task < end; ++task) {
    const Row row = row_of_task(job, task);
    const int64_t length = row.num_visible;
    const auto* const x = static_cast<const Element*>(job.x) + row.index * job.num_columns;
    auto* const out = static_cast<Element*>(job.out) + row.index * job.num_columns;
    float* powers = buffer;
    constexpr bool is_in_place = std::is_same_v<Format, Float32>;
    if constexpr (is_in_place) powers = out;
    const float largest = largest_of_row(length, [=](int64_t i, auto count) { return load(Format{}, x + i, count); });
    const float shift = -(scale * largest);
    const float sum = map_and_sum_row(powers, length, [=](int64_t i, auto count) {
      return scaled_exp_or_zero(fma(load(Format{}, x + i, count), broadcast(scale), broadcast(shift)));
    });
    const float factor = 1.0f / sum;
    map_row_shortly(Format{}, out, length, [=](int64_t i, auto count) {
      if constexpr (is_in_place)
        return mul(load(Float32{}, out + i, count), broadcast(factor));
      else
        return mul(load(Float32{}, powers + i, count), broadcast(factor));
    });
    clear(out + length, job.num_columns - length);
  }
}

template <typename Format> void softmax_backward(const SoftmaxJob& job, int64_t begin, int64_t end) {
  using Element = typename Format::Element;
  const float scale = job.scale;
  for (int64_t task = begin; task < end; ++task) {
    const Row row = row_of_task(job, task);
    const int64_t length = row.num_visible, first = row.index * job.num_columns;
    const auto* const y = static_cast<const Element*>(job.x) + first;
    const auto* const gradient = static_cast<const Element*>(job.gradient) + first;
    auto* const out = static_cast<Element*>(job.out) + first;
    const float sum = sum_row(length, [=](F32& total, int64_t i, auto count) {
      accumulate(total, load(Format{}, gradient + i, count), load(Format{}, y + i, count));
    });
    const float shift = -(scale * sum);
    map_row_shortly(Format{}, out, length, [=](int64_t i, auto count) {
      const F32 difference = fma(load(Format{}, gradient + i, count), broadcast(scale), broadcast(shift));
      return mul(difference, load(Format{}, y + i, count));
    });
    clear(out + length, job.num_columns - length);
  }
}

constexpr SoftmaxKernels kSoftmax = {
    softmax<Float32>,          softmax<BFloat16>,          softmax<Float16>,
    softmax_backward<Float32>, softmax_backward<BFloat16>, softmax_backward<Float16>,
};

}  // namespace
}  // namespace mfugaku::kernels
