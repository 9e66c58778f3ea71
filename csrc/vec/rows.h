// Passes over the elements of a row: its sum, its largest element, and another row from it.
//
// Sums have an order that no vector length changes: element i goes into partial sum i mod N, in the order of i, and the N
// partial sums, 16 for each vector in flight, are added in a fixed tree. Include behind the header of an instruction set.
#pragma once

#include <type_traits>

namespace mfugaku::vec {
namespace {

constexpr int64_t kWidestSums = 16;  // lanes that hold partial sums; longer vectors use this many of theirs

// v with +0 in the lanes that `count` leaves out.
MFUGAKU_INLINE F32 cut(F32 v, All) { return v; }
MFUGAKU_INLINE F32 cut(F32 v, First count) {
  return keep(not_below(broadcast(static_cast<uint32_t>(count.n - 1)), count_from(0)), v);
}

// The sum of sixteen numbers: halves upon halves.
__attribute__((noinline, nothrow)) float add_sixteen(const float* p) {
  float eight[8], four[4];
  for (int i = 0; i < 8; ++i) eight[i] = p[i] + p[i + 8];
  for (int i = 0; i < 4; ++i) four[i] = eight[i] + eight[i + 4];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

// The same of `number` of them, which are overwritten.
template <int64_t number, typename Count>
MFUGAKU_INLINE float add_partial_sums(float* p, int64_t width, Count count) {
  for (int64_t half = number / 2; half >= 16; half /= 2)
    for (int64_t i = 0; i < half; i += width)
      store(Float32{}, p + i, add(load(Float32{}, p + i, count), load(Float32{}, p + i + half, count)), count);
  return add_sixteen(p);
}

// The same of 4 * kWidestSums numbers in four vectors that have so many lanes.
template <typename Count> MFUGAKU_INLINE float add_four(F32 a, F32 b, F32 c, F32 d, Count whole) {
  alignas(64) float p[kWidestSums];
  store(Float32{}, p, add(add(a, c), add(b, d)), whole);
  return add_sixteen(p);
}

// block(i) for every block that begins `step` behind the one before, from element `begin` on, and has `size` elements before
// `end`. Returns where the next would begin. Where addresses have multiples of a vector in them, the loop counts down: an
// index that is not compared need not be there beside them.
template <typename Block>
MFUGAKU_INLINE int64_t for_whole_blocks(int64_t begin, int64_t end, int64_t size, int64_t step, const Block& block) {
  int64_t i = begin;
  if (kFixedLanes)
    for (; i + size <= end; i += step) block(i);
  else
    for (int64_t left = (end - begin + step - size) / step; left > 0; --left, i += step) block(i);
  return i;
}

// Sums are made in passes over a row, one for each group of partial sums that fits the vectors in flight; together they
// visit every element once.
//
// `run(alone, width, whole)` for the `width` lanes of each vector that hold partial sums, as many as `whole` says. `alone`
// is true where one pass is enough: there the distances in memory are multiples of a vector, which addresses can have in
// them.
template <typename Run> MFUGAKU_INLINE auto run_by_width(const Run& run) {
  if (lanes() == kWidestSums) return run(std::true_type{}, lanes(), All{});
  if (kFixedLanes) return run(std::false_type{}, lanes(), All{});
  const int64_t width = lanes() < kWidestSums ? lanes() : kWidestSums;
  return run(std::false_type{}, width, First{width});
}

// step(sum, i, count) adds the elements from i on, as many as `count` says (First{n} with n > 0, or All), to `sum`; what
// it adds in lanes that `count` leaves out must be +0. Eight sums are in flight: for steps that are short.
template <bool alone, typename Count, typename Step>
MFUGAKU_INLINE float sum_row_by(int64_t length, int64_t width, Count whole, const Step& step) {
  constexpr int64_t number = 8 * kWidestSums;
  const int64_t next = alone ? 8 * width : number;
  alignas(64) float partial[number];
  for (int64_t group = 0; group < number; group += 8 * width) {
    F32 a = broadcast(0.0f), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    const auto add_eight_vectors = [&](int64_t i) __attribute__((always_inline, nothrow)) {
      step(a, i, whole);
      step(b, i + width, whole);
      step(c, i + 2 * width, whole);
      step(d, i + 3 * width, whole);
      step(e, i + 4 * width, whole);
      step(f, i + 5 * width, whole);
      step(g, i + 6 * width, whole);
      step(h, i + 7 * width, whole);
    };
    const int64_t i = for_whole_blocks(group, length, 8 * width, next, add_eight_vectors);
    const auto finish = [&](F32& sum, int64_t from) __attribute__((always_inline, nothrow)) {
      if (from + width <= length)
        step(sum, from, whole);
      else if (from < length)
        step(sum, from, First{length - from});
    };
    if (i < length) {
      finish(a, i);
      finish(b, i + width);
      finish(c, i + 2 * width);
      finish(d, i + 3 * width);
      finish(e, i + 4 * width);
      finish(f, i + 5 * width);
      finish(g, i + 6 * width);
      finish(h, i + 7 * width);
    }
    if (alone) return add_four(add(a, e), add(b, f), add(c, g), add(d, h), whole);
    float* const to = partial + group;
    store(Float32{}, to, a, whole);
    store(Float32{}, to + width, b, whole);
    store(Float32{}, to + 2 * width, c, whole);
    store(Float32{}, to + 3 * width, d, whole);
    store(Float32{}, to + 4 * width, e, whole);
    store(Float32{}, to + 5 * width, f, whole);
    store(Float32{}, to + 6 * width, g, whole);
    store(Float32{}, to + 7 * width, h, whole);
  }
  return add_partial_sums<number>(partial, width, whole);
}

template <typename Step> MFUGAKU_INLINE float sum_row(int64_t length, const Step& step) {
  return run_by_width([&](auto alone, int64_t width, auto whole) __attribute__((always_inline, nothrow)) {
    return sum_row_by<decltype(alone)::value>(length, width, whole, step);
  });
}

// The sum of map(i, count) over a row, which is also written to out[i] if `is_kept`. The lanes that `count` leaves
// out are not used. Four vectors are in flight, for maps that are long.
template <bool is_kept, bool alone, typename Count, typename Map>
MFUGAKU_INLINE float sum_of_map_by(float* out, int64_t length, int64_t width, Count whole, const Map& map) {
  constexpr int64_t number = 4 * kWidestSums;
  const int64_t next = alone ? 4 * width : number;
  alignas(64) float partial[number];
  for (int64_t group = 0; group < number; group += 4 * width) {
    F32 a = broadcast(0.0f), b = a, c = a, d = a;
    const auto add_four_vectors = [&](int64_t from) __attribute__((always_inline, nothrow)) {
      const F32 v = map(from, whole);
      const F32 w = map(from + width, whole);
      const F32 x = map(from + 2 * width, whole);
      const F32 y = map(from + 3 * width, whole);
      if (is_kept) {
        store(Float32{}, out + from, v, whole);
        store(Float32{}, out + from + width, w, whole);
        store(Float32{}, out + from + 2 * width, x, whole);
        store(Float32{}, out + from + 3 * width, y, whole);
      }
      a = add(a, v);
      b = add(b, w);
      c = add(c, x);
      d = add(d, y);
    };
    const auto add_eight_vectors = [&](int64_t from) __attribute__((always_inline, nothrow)) {
      add_four_vectors(from);
      add_four_vectors(from + next);
    };
    int64_t i = for_whole_blocks(group, length, next + 4 * width, 2 * next, add_eight_vectors);
    if (i + 4 * width <= length) {
      add_four_vectors(i);
      i += next;
    }
    const auto finish_by = [&](F32& sum, int64_t from, auto count) __attribute__((always_inline, nothrow)) {
      const F32 v = map(from, count);
      if (is_kept) store(Float32{}, out + from, v, count);
      sum = add(sum, cut(v, count));
    };
    const auto finish = [&](F32& sum, int64_t from) __attribute__((always_inline, nothrow)) {
      if (from + width <= length)
        finish_by(sum, from, whole);
      else if (from < length)
        finish_by(sum, from, First{length - from});
    };
    if (i < length) {
      finish(a, i);
      finish(b, i + width);
      finish(c, i + 2 * width);
      finish(d, i + 3 * width);
    }
    if (alone) return add_four(a, b, c, d, whole);
    store(Float32{}, partial + group, a, whole);
    store(Float32{}, partial + group + width, b, whole);
    store(Float32{}, partial + group + 2 * width, c, whole);
    store(Float32{}, partial + group + 3 * width, d, whole);
  }
  return add_partial_sums<number>(partial, width, whole);
}

template <bool is_kept, typename Map>
MFUGAKU_INLINE float sum_of_map(float* out, int64_t length, const Map& map) {
  return run_by_width([&](auto alone, int64_t width, auto whole) __attribute__((always_inline, nothrow)) {
    return sum_of_map_by<is_kept, decltype(alone)::value>(out, length, width, whole, map);
  });
}
template <typename Map> MFUGAKU_INLINE float map_and_sum_row(float* out, int64_t length, const Map& map) {
  return sum_of_map<true>(out, length, map);
}
template <typename Map> MFUGAKU_INLINE float sum_of_map(int64_t length, const Map& map) {
  return sum_of_map<false>(nullptr, length, map);
}

// Two sums in one pass, each with four vectors in flight: step(first, second, i, count).
template <bool alone, typename Count, typename Step>
MFUGAKU_INLINE void sum_row_twice_by(int64_t length, int64_t width, Count whole, const Step& step, float& first,
                                     float& second) {
  constexpr int64_t number = 4 * kWidestSums;
  const int64_t next = alone ? 4 * width : number;
  alignas(64) float partial[number], other[number];
  for (int64_t group = 0; group < number; group += 4 * width) {
    F32 a = broadcast(0.0f), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    const auto add_four_vectors = [&](int64_t from) __attribute__((always_inline, nothrow)) {
      step(a, e, from, whole);
      step(b, f, from + width, whole);
      step(c, g, from + 2 * width, whole);
      step(d, h, from + 3 * width, whole);
    };
    const auto add_eight_vectors = [&](int64_t from) __attribute__((always_inline, nothrow)) {
      add_four_vectors(from);
      add_four_vectors(from + next);
    };
    int64_t i = for_whole_blocks(group, length, next + 4 * width, 2 * next, add_eight_vectors);
    if (i + 4 * width <= length) {
      add_four_vectors(i);
      i += next;
    }
    const auto finish = [&](F32& sum, F32& second_sum, int64_t from) __attribute__((always_inline, nothrow)) {
      if (from + width <= length)
        step(sum, second_sum, from, whole);
      else if (from < length)
        step(sum, second_sum, from, First{length - from});
    };
    if (i < length) {
      finish(a, e, i);
      finish(b, f, i + width);
      finish(c, g, i + 2 * width);
      finish(d, h, i + 3 * width);
    }
    if (alone) {
      first = add_four(a, b, c, d, whole);
      second = add_four(e, f, g, h, whole);
      return;
    }
    const auto keep_sums = [&](float* to, F32 v, F32 w, F32 x, F32 y) __attribute__((always_inline, nothrow)) {
      store(Float32{}, to, v, whole);
      store(Float32{}, to + width, w, whole);
      store(Float32{}, to + 2 * width, x, whole);
      store(Float32{}, to + 3 * width, y, whole);
    };
    keep_sums(partial + group, a, b, c, d);
    keep_sums(other + group, e, f, g, h);
  }
  first = add_partial_sums<number>(partial, width, whole);
  second = add_partial_sums<number>(other, width, whole);
}

template <typename Step>
MFUGAKU_INLINE void sum_row_twice(int64_t length, const Step& step, float& first, float& second) {
  run_by_width([&](auto alone, int64_t width, auto whole) __attribute__((always_inline, nothrow)) {
    sum_row_twice_by<decltype(alone)::value>(length, width, whole, step, first, second);
  });
}

// The largest of v(i, count) over a row, -inf when there is none; anything when one is a NaN.
template <typename Value> MFUGAKU_INLINE float largest_of_row(int64_t length, const Value& value) {
  const int64_t width = lanes();
  F32 a = broadcast(-__builtin_inff()), b = a, c = a, d = a;
  const auto see_eight_vectors = [&](int64_t from) __attribute__((always_inline, nothrow)) {
    a = at_least(value(from, All{}), a);
    b = at_least(value(from + width, All{}), b);
    c = at_least(value(from + 2 * width, All{}), c);
    d = at_least(value(from + 3 * width, All{}), d);
    a = at_least(value(from + 4 * width, All{}), a);
    b = at_least(value(from + 5 * width, All{}), b);
    c = at_least(value(from + 6 * width, All{}), c);
    d = at_least(value(from + 7 * width, All{}), d);
  };
  int64_t i = for_whole_blocks(0, length, 8 * width, 8 * width, see_eight_vectors);
  for (; i + width <= length; i += width) a = at_least(value(i, All{}), a);
  if (i < length) {
    const First rest{length - i};
    const U32 end = broadcast(static_cast<uint32_t>(rest.n));
    b = at_least(add(value(i, rest), keep(not_below(count_from(0), end), broadcast(-__builtin_inff()))), b);
  }
  return largest(at_least(at_least(a, b), at_least(c, d)));
}

// out[i] = map(i, count) for every element of a row. Four vectors at once hide the latency of one.
template <typename Format, typename Map>
MFUGAKU_INLINE void map_row(Format format, typename Format::Element* out, int64_t length, const Map& map) {
  const int64_t width = lanes();
  int64_t i = 0;
  for (; i + 4 * width <= length; i += 4 * width) {
    const F32 a = map(i, All{});
    const F32 b = map(i + width, All{});
    const F32 c = map(i + 2 * width, All{});
    const F32 d = map(i + 3 * width, All{});
    store(format, out + i, a, All{});
    store(format, out + i + width, b, All{});
    store(format, out + i + 2 * width, c, All{});
    store(format, out + i + 3 * width, d, All{});
  }
  for (; i + width <= length; i += width) store(format, out + i, map(i, All{}), All{});
  if (i < length) {
    const First rest{length - i};
    store(format, out + i, map(i, rest), rest);
  }
}

// The same with eight vectors at once, for maps that are short.
template <typename Format, typename Map>
MFUGAKU_INLINE void map_row_shortly(Format format, typename Format::Element* out, int64_t length, const Map& map) {
  const int64_t width = lanes();
  const auto map_eight_vectors = [&](int64_t from) __attribute__((always_inline, nothrow)) {
    const F32 a = map(from, All{});
    const F32 b = map(from + width, All{});
    const F32 c = map(from + 2 * width, All{});
    const F32 d = map(from + 3 * width, All{});
    const F32 e = map(from + 4 * width, All{});
    const F32 f = map(from + 5 * width, All{});
    const F32 g = map(from + 6 * width, All{});
    const F32 h = map(from + 7 * width, All{});
    store(format, out + from, a, All{});
    store(format, out + from + width, b, All{});
    store(format, out + from + 2 * width, c, All{});
    store(format, out + from + 3 * width, d, All{});
    store(format, out + from + 4 * width, e, All{});
    store(format, out + from + 5 * width, f, All{});
    store(format, out + from + 6 * width, g, All{});
    store(format, out + from + 7 * width, h, All{});
  };
  const int64_t i = for_whole_blocks(0, length, 8 * width, 8 * width, map_eight_vectors);
  map_row(format, out + i, length - i, [&](int64_t k, auto count) { return map(i + k, count); });
}

// The same as map_row for two rows at once: map(i, count, first, second).
template <typename Format, typename Map>
MFUGAKU_INLINE void map_two_rows(Format format, typename Format::Element* one, typename Format::Element* two,
                                 int64_t length, const Map& map) {
  const int64_t width = lanes();
  const auto part = [&](int64_t i, auto count) {
    F32 v, w;
    map(i, count, v, w);
    store(format, one + i, v, count);
    store(format, two + i, w, count);
  };
  int64_t i = 0;
  for (; i + 4 * width <= length; i += 4 * width) {
    F32 a, b, c, d, e, f, g, h;
    map(i, All{}, a, e);
    map(i + width, All{}, b, f);
    map(i + 2 * width, All{}, c, g);
    map(i + 3 * width, All{}, d, h);
    store(format, one + i, a, All{});
    store(format, one + i + width, b, All{});
    store(format, one + i + 2 * width, c, All{});
    store(format, one + i + 3 * width, d, All{});
    store(format, two + i, e, All{});
    store(format, two + i + width, f, All{});
    store(format, two + i + 2 * width, g, All{});
    store(format, two + i + 3 * width, h, All{});
  }
  for (; i + width <= length; i += width) part(i, All{});
  if (i < length) part(i, First{length - i});
}

}  // namespace
}  // namespace mfugaku::vec
