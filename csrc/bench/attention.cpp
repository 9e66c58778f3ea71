#include "bench/case.h"
#include "kernels/attention/attention_run.h"

namespace mfugaku::bench {
namespace {

using kernels::Storage;

// Causal, with dropout of 0.1, on [sequence, heads, width]; flops are those of the whole matrix of scores, of two
// products forward and five backward.
Case make_case(const std::string& dtype, bool backward, int64_t heads, int64_t length, int64_t width) {
  const int64_t count = heads * length * width, flops = (backward ? 10 : 4) * heads * length * length * width;
  return {"attention", backward ? "backward" : "forward", dtype, {heads, length, width}, "flop", flops,
          bytes_of(dtype) * count * (backward ? 8 : 4), [=](int64_t num_threads) -> Run {
            std::vector<std::shared_ptr<void>> memory;
            const auto matrix = [&]() -> kernels::AttentionMatrix {
              memory.push_back(make_values(count, dtype));
              return {memory.back().get(), heads * width, width};
            };
            kernels::AttentionJob job = {};
            job.num_heads = heads;
            job.group = 1;
            job.num_queries = job.num_keys = length;
            job.width = width;
            job.is_causal = true;
            job.scale = 1.0f / 12.0f;
            job.threshold = 429496730;
            job.keep_scale = 1.0f / 0.9f;
            job.seed = 1234;
            job.heads_per_sequence = job.heads_of_model = heads;
            for (auto* const one : {&job.query, &job.key, &job.value, &job.out, &job.out_gradient, &job.query_gradient,
                                    &job.key_gradient, &job.value_gradient})
              *one = matrix();
            const auto statistics = make_floats(2 * heads * length), projection = make_floats(heads * length);
            job.statistics = statistics.get();
            job.projection = projection.get();
            const Storage storage =
                dtype == "float32" ? Storage::Float32 : dtype == "bfloat16" ? Storage::BFloat16 : Storage::Float16;
            const auto& found = kernels_of<kernels::AttentionKernels>();
            const kernels::AttentionPlan plan(found, job, storage, num_threads);
            const auto floats = make_array<float>(backward ? plan.backward_workspace() : plan.forward_workspace());
            return [=](const Parallel& parallel) {
              (void)memory, (void)statistics, (void)projection;
              kernels::AttentionPlan run = plan;
              const auto between = [] {};
              if (backward)
                run.backward(floats.get(), parallel, between);
              else
                run.forward(floats.get(), parallel, between);
            };
          }};
}

const Declaration declaration([](Shapes shapes) {
  std::vector<Case> cases;
  for (const bool backward : {false, true}) {
    if (shapes == Shapes::Whole) {  // a width of 16 gives the tasks that 144 does
      cases.push_back(make_case("float32", backward, 6, 2048, 16));
      continue;
    }
    cases.push_back(make_case("float32", backward, 1, shapes == Shapes::Deep ? 2048 : 384, 144));
    if (!backward) cases.push_back(make_case("bfloat16", backward, 1, shapes == Shapes::Deep ? 2048 : 384, 144));
  }
  return cases;
}, {Shapes::Small, Shapes::Whole, Shapes::Deep});

}  // namespace
}  // namespace mfugaku::bench
