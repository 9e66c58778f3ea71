// What the tests of matrix products share.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>

#include "kernels/gemm/gemm_run.h"
#include "support.h"

namespace mfugaku::tests {

using kernels::GemmOperand, kernels::GemmProblem, kernels::Storage;

struct Shape {
  int64_t batches, rows, columns, depth;
};

inline const HalfFormat* half_of(Storage storage) {
  return storage == Storage::Float32 ? nullptr : storage == Storage::BFloat16 ? &kBFloat16 : &kFloat16;
}

// A batch of matrices with memory that ends, or begins, beside a page that nobody may touch.
class Matrices {
 public:
  Matrices(Random& random, Storage storage, int64_t batches, int64_t rows, int64_t columns, bool turned, int64_t gap)
      : storage_(storage), batches_(batches) {
    row_ = turned ? 1 : columns + gap;
    column_ = turned ? rows + gap : 1;
    batch_ = rows == 0 || columns == 0 ? 0 : (rows - 1) * row_ + (columns - 1) * column_ + 1 + gap;
    const int64_t count = batches == 0 || batch_ == 0 ? 0 : batches * batch_ - gap;
    const Edge edge = random.bits() % 2 == 0 ? Edge::AtStart : Edge::AtEnd;
    if (storage == Storage::Float32) floats_ = std::make_unique<Guarded<float>>(count, edge);
    else halves_ = std::make_unique<Guarded<uint16_t>>(count, edge);
    for (int64_t i = 0; i < count; ++i) put(i, random.between(-1, 1));
  }
  GemmOperand operand() const { return {data(), storage_, batch_, row_, column_}; }
  void* data() const { return floats_ ? static_cast<void*>(floats_->data()) : static_cast<void*>(halves_->data()); }
  int64_t batch_stride() const { return batch_; }
  int64_t row_stride() const { return row_; }
  float at(int64_t batch, int64_t row, int64_t column) const {
    return get(batch * batch_ + row * row_ + column * column_);
  }
  // What a float32 becomes here.
  float rounded(float value) const {
    const HalfFormat* half = half_of(storage_);
    if (half == nullptr) return value;
    return static_cast<float>(half->value(half->nearest(value)));
  }
  bool intact() const { return floats_ ? floats_->intact() : halves_->intact(); }

 private:
  float get(int64_t i) const {
    return floats_ ? (*floats_)[i] : static_cast<float>(half_of(storage_)->value((*halves_)[i]));
  }
  void put(int64_t i, double value) {
    if (floats_) (*floats_)[i] = static_cast<float>(value);
    else (*halves_)[i] = half_of(storage_)->nearest(value);
  }

  Storage storage_;
  int64_t batches_, batch_, row_, column_;
  std::unique_ptr<Guarded<float>> floats_;
  std::unique_ptr<Guarded<uint16_t>> halves_;
};

// Ranges in an order and of sizes that threads might have taken them, on threads.
struct Scattered {
  Random& random;
  template <typename Body> void operator()(int64_t count, int64_t grain, const Body& body) const {
    std::vector<std::pair<int64_t, int64_t>> ranges;
    for (int64_t begin = 0; begin < count;) {
      const int64_t end = std::min<int64_t>(count, begin + grain + static_cast<int64_t>(random.bits() % 7));
      ranges.push_back({begin, end});
      begin = end;
    }
    for (size_t i = ranges.size(); i > 1; --i) std::swap(ranges[i - 1], ranges[random.bits() % i]);
    on_threads(ranges, body);
  }
};

// Whether an emulator adds up so many products one by one, the slow way, in a moment.
inline bool is_small(const Shape& s) { return s.batches * s.rows * s.columns * s.depth <= 75000; }

inline const Shape kShapes[] = {{1, 1, 1, 1},   {1, 8, 48, 16},   {2, 7, 47, 15},   {2, 9, 49, 17},   {3, 4, 24, 8},
                         {1, 5, 25, 33}, {1, 16, 96, 256}, {1, 17, 13, 257}, {2, 11, 50, 520}, {1, 33, 144, 64},
                         {1, 3, 2, 300}, {1, 64, 1, 5},    {1, 1, 100, 40},  {0, 4, 4, 4},     {1, 0, 4, 4},
                         {1, 4, 0, 4},   {1, 4, 4, 0},     {1, 12, 193, 31}};

struct ProductCase {
  Shape shape;
  Storage in, out;
  bool a_turned, b_turned, accumulate;
  float alpha;
  int64_t gap;
};

// Whether a matrix lies turned says `layout`; what else there is to choose is drawn.
inline ProductCase draw_case(Random& random, const Shape& shape, Storage in, Storage out, int layout) {
  const bool accumulate = random.bits() % 2 == 0;
  const float alpha = random.bits() % 2 == 0 ? 1.0f : 0.3f;
  return {shape, in, out, (layout & 1) != 0, (layout & 2) != 0, accumulate, alpha,
          static_cast<int64_t>(random.bits() % 3)};
}

// Multiplies, and compares each element with alpha times sum_of(begin, a, b), bit for bit: the sum of a(k) * b(k) and,
// unless `begin` is null, of what stood there.
template <typename Plan, typename Kernels, typename SumOf>
void check_products(Random& random, const ProductCase& c, const std::string& isa, const Kernels& kernels,
                    const SumOf& sum_of) {
  CAPTURE(isa);
  const Shape& s = c.shape;
  CAPTURE(s.depth);
  Matrices a(random, c.in, s.batches, s.rows, s.depth, c.a_turned, c.gap);
  Matrices b(random, c.in, s.batches, s.depth, s.columns, c.b_turned, c.gap);
  Matrices out(random, c.out, s.batches, s.rows, s.columns, false, c.gap);
  std::vector<float> expected;
  for (int64_t i = 0; i < s.batches; ++i)
    for (int64_t row = 0; row < s.rows; ++row)
      for (int64_t column = 0; column < s.columns; ++column) {
        const float begin = out.at(i, row, column);
        const float sum = sum_of(
            c.accumulate ? &begin : nullptr, [&](int64_t k) { return a.at(i, row, k); },
            [&](int64_t k) { return b.at(i, k, column); });
        expected.push_back(out.rounded(c.alpha * sum));
      }
  const GemmProblem problem = {s.batches,  s.rows, s.columns,          s.depth,          a.operand(), b.operand(),
                               out.data(), c.out,  out.batch_stride(), out.row_stride(), c.alpha,     c.accumulate};
  const Plan plan(kernels, problem);
  Guarded<float> workspace(plan.workspace(), Edge::AtEnd);
  plan.run(workspace.data(), Scattered{random});
  int64_t num_wrong = 0;
  size_t next = 0;
  for (int64_t i = 0; i < s.batches; ++i)
    for (int64_t row = 0; row < s.rows; ++row)
      for (int64_t column = 0; column < s.columns; ++column)
        num_wrong += same(out.at(i, row, column), expected[next++]) ? 0 : 1;
  CHECK(num_wrong == 0);
  CHECK(out.intact());
  CHECK(workspace.intact());
}

}  // namespace mfugaku::tests
