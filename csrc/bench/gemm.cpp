#include <cmath>

#include "bench/case.h"
#include "kernels/gemm/gemm_run.h"
#include "kernels/gemm_fp16/gemm_fp16_run.h"
#include "vec/half.h"

namespace mfugaku::bench {
namespace {

using kernels::GemmOperand;
using kernels::GemmProblem;
using kernels::Storage;

struct Product {
  std::string form;  // "nt", "nn", "tn", or those of attention's heads
  int64_t batches, rows, columns, depth;
};

Storage storage_of(const std::string& dtype) {
  return dtype == "float32" ? Storage::Float32 : dtype == "bfloat16" ? Storage::BFloat16 : Storage::Float16;
}

// [rows, depth] as a matrix lies, or transposed.
GemmOperand operand(const void* data, Storage storage, int64_t rows, int64_t columns, bool transposed) {
  return {data, storage, rows * columns, transposed ? 1 : columns, transposed ? rows : 1};
}

// Of [sequence, heads, width], as Megatron has it: one matrix for each head.
GemmOperand head_operand(const void* data, Storage storage, int64_t heads, int64_t width, bool transposed) {
  const int64_t row = heads * width;
  return {data, storage, width, transposed ? 1 : row, transposed ? row : 1};
}

template <typename Kernels, typename Plan>
Case make_case_of(const std::string& dtype, const Product& of, bool of_heads) {
  const int64_t flops = 2 * of.batches * of.rows * of.columns * of.depth;
  const int64_t size_a = of.batches * of.rows * of.depth, size_b = of.batches * of.depth * of.columns;
  const int64_t size_c = of.batches * of.rows * of.columns;
  const std::string variant = (of_heads ? "heads " : "") + of.form;
  return {Kernels::kOp, variant, dtype, {of.batches, of.rows, of.columns, of.depth}, "flop", flops,
          bytes_of(dtype) * (size_a + size_b + size_c), [=](int64_t) -> Run {
            const auto a = make_values(size_a, dtype), b = make_values(size_b, dtype), c = make_values(size_c, dtype);
            const Storage storage = storage_of(dtype);
            GemmProblem problem = {};
            problem.batches = of.batches;
            problem.rows = of.rows;
            problem.columns = of.columns;
            problem.depth = of.depth;
            problem.a = operand(a.get(), storage, of.rows, of.depth, of.form == "tn");
            problem.b = operand(b.get(), storage, of.depth, of.columns, of.form == "nt");
            if (of_heads && of.form == "nt") {  // queries and keys
              problem.a = head_operand(a.get(), storage, of.batches, of.depth, false);
              problem.b = head_operand(b.get(), storage, of.batches, of.depth, true);
            } else if (of_heads) {  // probabilities and values
              problem.b = head_operand(b.get(), storage, of.batches, of.columns, false);
            }
            problem.out = c.get();
            problem.out_storage = storage;
            problem.out_batch_stride = of.rows * of.columns;
            problem.out_row_stride = of.columns;
            problem.alpha = 1.0f;
            const auto& found = kernels_of<Kernels>();
            const auto floats = make_array<float>(Plan(found, problem).workspace());
            return [=, &found](const Parallel& parallel) {
              (void)a, (void)b, (void)c;
              Plan(found, problem).run(floats.get(), parallel);
            };
          }};
}

Case make_case(const std::string& dtype, const Product& of, bool of_heads) {
  return make_case_of<kernels::GemmKernels, kernels::GemmPlan>(dtype, of, of_heads);
}

// Of products as deep as the 13B model's deepest, of numbers around zero.
double measure_fp16_error() {
  const int64_t rows = 8, columns = 96, depth = 5184;
  uint64_t state = 1;
  const auto draw = [&state](double size) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return vec::float_to_float16(static_cast<float>(size * (static_cast<double>(state >> 11) * 0x1p-52 - 1)));
  };
  std::vector<uint16_t> a(static_cast<std::size_t>(rows * depth)), b(static_cast<std::size_t>(columns * depth));
  std::generate(a.begin(), a.end(), [&] { return draw(2); });
  std::generate(b.begin(), b.end(), [&] { return draw(0.04); });
  std::vector<float> out(static_cast<std::size_t>(rows * columns));
  GemmProblem problem = {};
  problem.batches = 1;
  problem.rows = rows;
  problem.columns = columns;
  problem.depth = depth;
  problem.a = operand(a.data(), Storage::Float16, rows, depth, false);
  problem.b = operand(b.data(), Storage::Float16, depth, columns, true);
  problem.out = out.data();
  problem.out_storage = Storage::Float32;
  problem.out_row_stride = columns;
  problem.alpha = 1.0f;
  const kernels::GemmFp16Plan plan(kernels_of<kernels::GemmFp16Kernels>(), problem);
  const auto floats = make_array<float>(plan.workspace());
  plan.run(floats.get(), [](int64_t count, int64_t, const auto& body) { body(0, count); });
  double of_errors = 0, of_results = 0;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column) {
      double exact = 0;
      for (int64_t k = 0; k < depth; ++k)
        exact += static_cast<double>(vec::float16_to_float(a[row * depth + k])) *
                 vec::float16_to_float(b[column * depth + k]);
      of_errors += (out[row * columns + column] - exact) * (out[row * columns + column] - exact);
      of_results += exact * exact;
    }
  return std::sqrt(of_errors / of_results);
}

// With float16 arithmetic.
Case make_fp16_case(const Product& of) {
  Case made = make_case_of<kernels::GemmFp16Kernels, kernels::GemmFp16Plan>("float16", of, false);
  if (of.form == "nt") made.measure_error = measure_fp16_error;
  return made;
}

constexpr const char* kForms[] = {"nt", "nn", "tn"};
constexpr int64_t kWidth = 144;

// All forms of a layer's product, whatever its own one, and those of its heads, of so many positions and so deep.
std::vector<Case> make_cases(const Product& layer, int64_t heads, int64_t positions, int64_t depth_of_scores,
                             int64_t depth_of_values) {
  std::vector<Case> cases;
  for (const std::string form : kForms) {
    cases.push_back(make_case("float32", {form, 1, layer.rows, layer.columns, layer.depth}, false));
    const Product of_head = form == "nt" ? Product{form, heads, positions, positions, depth_of_scores}
                                         : Product{form, heads, positions, kWidth, depth_of_values};
    cases.push_back(make_case("float32", of_head, true));
  }
  return cases;
}

const Declaration declaration([](Shapes shapes) {
  if (shapes == Shapes::Deep) return make_cases({"", 1, 576, 864, 864}, 1, 2048, kWidth, 2048);
  // But for the depth, which threads do not share: whole products would take an emulator an hour.
  if (shapes == Shapes::Whole) return make_cases({"", 1, 2048, 3456, 16}, 6, 2048, 16, 16);
  std::vector<Case> cases = make_cases({"", 1, 288, 288, 256}, 1, 288, kWidth, 288);
  cases.push_back(make_case("bfloat16", {"nt", 1, 288, 288, 256}, false));
  cases.push_back(make_case("float16", {"nt", 1, 288, 288, 256}, false));
  for (const char* const form : kForms) cases.push_back(make_fp16_case({form, 1, 288, 288, 256}));
  return cases;
}, {Shapes::Small, Shapes::Whole, Shapes::Deep});

}  // namespace
}  // namespace mfugaku::bench
