// The gemm kernels of every instruction set against one chain of fused multiply-adds for each element, bit for bit.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>

#include "kernels/gemm/gemm_run.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

struct Shape {
  int64_t batches, rows, columns, depth;
};

const HalfFormat* half_of(Storage storage) {
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

struct Case {
  Shape shape;
  Storage in, out;
  bool a_turned, b_turned, accumulate;
  float alpha;
  int64_t gap;
};

void check_case(Random& random, const Case& c, const std::string& isa, const GemmKernels& kernels) {
  CAPTURE(isa);
  const Shape& s = c.shape;
  Matrices a(random, c.in, s.batches, s.rows, s.depth, c.a_turned, c.gap);
  Matrices b(random, c.in, s.batches, s.depth, s.columns, c.b_turned, c.gap);
  Matrices out(random, c.out, s.batches, s.rows, s.columns, false, c.gap);
  std::vector<float> expected;
  for (int64_t i = 0; i < s.batches; ++i)
    for (int64_t row = 0; row < s.rows; ++row)
      for (int64_t column = 0; column < s.columns; ++column) {
        float sum = c.accumulate ? out.at(i, row, column) : 0.0f;
        for (int64_t k = 0; k < s.depth; ++k) sum = std::fma(a.at(i, row, k), b.at(i, k, column), sum);
        expected.push_back(out.rounded(c.alpha * sum));
      }
  const GemmProblem problem = {s.batches,  s.rows, s.columns,          s.depth,          a.operand(), b.operand(),
                               out.data(), c.out,  out.batch_stride(), out.row_stride(), c.alpha,     c.accumulate};
  const GemmPlan plan(kernels, problem);
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

const Shape kShapes[] = {{1, 1, 1, 1},   {1, 8, 48, 16},   {2, 7, 47, 15},   {2, 9, 49, 17},   {3, 4, 24, 8},
                         {1, 5, 25, 33}, {1, 16, 96, 256}, {1, 17, 13, 257}, {2, 11, 50, 520}, {1, 33, 144, 64},
                         {1, 3, 2, 300}, {1, 64, 1, 5},    {1, 1, 100, 40},  {0, 4, 4, 4},     {1, 0, 4, 4},
                         {1, 4, 0, 4},   {1, 4, 4, 0},     {1, 12, 193, 31}};

}  // namespace

TEST_CASE("products are one chain of fused multiply-adds for each element, on every instruction set") {
  for_every_isa<GemmKernels>([](const std::string& isa, const GemmKernels& kernels) {
    Random random(3);
    for (const Shape& shape : kShapes)
      for (int layout = 0; layout < 4; ++layout)
        check_case(
            random,
            {shape, Storage::Float32, Storage::Float32, (layout & 1) != 0, (layout & 2) != 0, random.bits() % 2 == 0,
             random.bits() % 2 == 0 ? 1.0f : 0.3f, static_cast<int64_t>(random.bits() % 3)},
            isa, kernels);
  });
}

TEST_CASE("halves give what float32 gives for their values, rounded once") {
  for_every_isa<GemmKernels>([](const std::string& isa, const GemmKernels& kernels) {
    Random random(4);
    for (const Shape& shape : kShapes)
      for (const Storage in : {Storage::BFloat16, Storage::Float16})
        for (const Storage out : {in, Storage::Float32})
          check_case(random,
                     {shape, in, out, random.bits() % 2 == 0, random.bits() % 2 == 0, random.bits() % 2 == 0,
                      random.bits() % 2 == 0 ? 1.0f : 0.3f, static_cast<int64_t>(random.bits() % 3)},
                     isa, kernels);
  });
}

TEST_CASE(
    "matrices that are contiguous along neither side are multiplied too, and one matrix may serve a whole batch") {
  for_every_isa<GemmKernels>([](const std::string& isa, const GemmKernels& kernels) {
    CAPTURE(isa);
    const int64_t rows = 5, columns = 30, depth = 9, batches = 2;
    Random random(5);
    std::vector<float> a(rows * depth * 6), b(depth * columns * 6), out(batches * rows * columns);
    for (float& v : a) v = static_cast<float>(random.between(-1, 1));
    for (float& v : b) v = static_cast<float>(random.between(-1, 1));
    const GemmProblem problem = {batches,
                                 rows,
                                 columns,
                                 depth,
                                 {a.data(), Storage::Float32, 0, 3 * depth, 2},
                                 {b.data(), Storage::Float32, 1, 2 * columns, 2},
                                 out.data(),
                                 Storage::Float32,
                                 rows * columns,
                                 columns,
                                 1.0f,
                                 false};
    const GemmPlan plan(kernels, problem);
    std::vector<float> workspace(static_cast<size_t>(plan.workspace()));
    plan.run(workspace.data(), Scattered{random});
    int64_t num_wrong = 0;
    for (int64_t i = 0; i < batches; ++i)
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t column = 0; column < columns; ++column) {
          float sum = 0;
          for (int64_t k = 0; k < depth; ++k)
            sum = std::fma(a[row * 3 * depth + 2 * k], b[i + k * 2 * columns + 2 * column], sum);
          num_wrong += same(sum, out[(i * rows + row) * columns + column]) ? 0 : 1;
        }
    CHECK(num_wrong == 0);
  });
}
