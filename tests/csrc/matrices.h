// What the tests of matrix products share.
#pragma once

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

}  // namespace mfugaku::tests
