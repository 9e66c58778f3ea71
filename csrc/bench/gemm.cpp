#include "bench/case.h"
#include "kernels/gemm/gemm_run.h"

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

Case make_case(const std::string& dtype, const Product& of, bool of_heads) {
  const int64_t flops = 2 * of.batches * of.rows * of.columns * of.depth;
  const int64_t size_a = of.batches * of.rows * of.depth, size_b = of.batches * of.depth * of.columns;
  const int64_t size_c = of.batches * of.rows * of.columns;
  const std::string variant = (of_heads ? "heads " : "") + of.form;
  return {"gemm", variant, dtype, {of.batches, of.rows, of.columns, of.depth}, "flop", flops,
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
            const auto& found = kernels_of<kernels::GemmKernels>();
            const auto floats = make_array<float>(kernels::GemmPlan(found, problem).workspace());
            return [=, &found](const Parallel& parallel) {
              (void)a, (void)b, (void)c;
              kernels::GemmPlan(found, problem).run(floats.get(), parallel);
            };
          }};
}

const Declaration declaration([](bool whole) {
  std::vector<Case> cases;
  if (whole) {  // but for the depth, which threads do not share: whole products would take an emulator an hour
    for (const char* const form : {"nt", "nn", "tn"})
      cases.push_back(make_case("float32", {form, 1, 2048, 3456, 16}, false));
    cases.push_back(make_case("float32", {"nt", 6, 2048, 2048, 16}, true));
    for (const char* const form : {"nn", "tn"}) cases.push_back(make_case("float32", {form, 6, 2048, 144, 16}, true));
    return cases;
  }
  for (const char* const form : {"nt", "nn", "tn"}) {
    cases.push_back(make_case("float32", {form, 1, 288, 288, 256}, false));
    const bool is_of_scores = form == std::string("nt");
    cases.push_back(make_case("float32", {form, 1, 288, is_of_scores ? 288 : 144, is_of_scores ? 144 : 288}, true));
  }
  cases.push_back(make_case("bfloat16", {"nt", 1, 288, 288, 256}, false));
  cases.push_back(make_case("float16", {"nt", 1, 288, 288, 256}, false));
  return cases;
});

}  // namespace
}  // namespace mfugaku::bench
