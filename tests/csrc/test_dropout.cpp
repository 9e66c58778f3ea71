// The dropout kernels of every instruction set against Philox and the arithmetic written out.
#include <doctest/doctest.h>

#include <memory>

#include "kernels/dropout/dropout.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

bool is_kept(const DropoutJob& job, int64_t i) {
  const auto block = static_cast<uint64_t>(i / 256 * 64 + i % 64);
  const Words counter = {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                         static_cast<uint32_t>(job.offset), static_cast<uint32_t>(job.offset >> 32)};
  return philox(counter, job.seed)[static_cast<size_t>(i % 256 / 64)] >= job.threshold;
}

float expected(const DropoutJob& job, int64_t i, float x, const float* bias, const float* residual) {
  float v = x;
  if (bias != nullptr) v += *bias;
  v = is_kept(job, i) ? v * job.scale : 0.0f;
  return residual == nullptr ? v : *residual + v;
}

DropoutJob job_of(float drop, uint64_t seed, uint64_t offset) {
  DropoutJob job = {};
  job.seed = seed;
  job.offset = offset;
  job.threshold = static_cast<uint32_t>(static_cast<double>(drop) * 0x1p32);
  job.scale = 1.0f / (1.0f - drop);
  return job;
}

struct Shape {
  int64_t count, num_columns;
  bool has_bias, has_residual;
};

void check_float32(const Shape& shape, Edge edge) {
  for_every_isa<DropoutKernels>([&](const std::string& isa, const DropoutKernels& kernels) {
    Random random(static_cast<uint64_t>(shape.count));
    Guarded<float> x(shape.count, edge), out(shape.count, edge), residual(shape.count, edge);
    Guarded<float> bias(shape.num_columns, edge);
    for (int64_t i = 0; i < shape.count; ++i) x[i] = any_float(random), residual[i] = any_float(random);
    for (int64_t i = 0; i < shape.num_columns; ++i) bias[i] = any_float(random);
    DropoutJob job = job_of(0.3f, 0x0123456789abcdefull, 0xfedcba9876543210ull);
    job.x = x.data();
    job.bias = shape.has_bias ? bias.data() : nullptr;
    job.num_columns = shape.num_columns;
    job.residual = shape.has_residual ? residual.data() : nullptr;
    job.out = out.data();
    // In two ranges, as two threads would.
    const int64_t middle = shape.count / 2 / kDropoutGroup * kDropoutGroup;
    kernels.run_float32(job, middle, shape.count);
    kernels.run_float32(job, 0, middle);
    int64_t wrong = 0;
    for (int64_t i = 0; i < shape.count; ++i) {
      const float* const b = shape.has_bias ? &bias[i % shape.num_columns] : nullptr;
      wrong += !same(out[i], expected(job, i, x[i], b, shape.has_residual ? &residual[i] : nullptr));
    }
    CAPTURE(isa);
    CAPTURE(shape.count);
    CAPTURE(shape.num_columns);
    CHECK(wrong == 0);
    CHECK(out.intact());
  });
}

}  // namespace

TEST_CASE("Philox4x32-10 gives the numbers of its authors' known-answer tests") {
  CHECK(philox({0, 0, 0, 0}, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0u, ~0u, ~0u, ~0u}, ~0ull) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822ull) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("dropout keeps what Philox keeps, at every size and width of rows") {
  std::vector<int64_t> counts = sizes();
  for (const int64_t more : {383, 512, 513, 1023, 2048, 3001}) counts.push_back(more);
  for (const int64_t count : counts)
    for (const Edge edge : {Edge::AtStart, Edge::AtEnd}) {
      check_float32({count, 1, false, false}, edge);
      check_float32({count, 1, false, true}, edge);
      for (const int64_t num_columns : {1, 3, 63, 64, 65, 192, 300}) {
        check_float32({count, num_columns, true, false}, edge);
        check_float32({count, num_columns, true, true}, edge);
      }
    }
}

TEST_CASE("halves are computed in float32 and rounded once") {
  const int64_t count = 777, num_columns = 37;
  for_every_isa<DropoutKernels>([&](const std::string& isa, const DropoutKernels& kernels) {
    CAPTURE(isa);
    for (const HalfFormat* format : {&kBFloat16, &kFloat16}) {
      Random random(7);
      Guarded<uint16_t> x(count, Edge::AtEnd), residual(count, Edge::AtEnd), bias(num_columns, Edge::AtEnd);
      std::vector<uint16_t> residual_before;
      for (int64_t i = 0; i < count; ++i) {
        x[i] = format->nearest(random.between(-4, 4));
        residual_before.push_back(residual[i] = format->nearest(random.between(-4, 4)));
      }
      for (int64_t i = 0; i < num_columns; ++i) bias[i] = format->nearest(random.between(-4, 4));
      DropoutJob job = job_of(0.5f, 1, 2);
      job.x = x.data();
      job.bias = bias.data();
      job.num_columns = num_columns;
      job.residual = residual.data();
      job.out = residual.data();  // in place
      (format == &kBFloat16 ? kernels.run_bfloat16 : kernels.run_float16)(job, 0, count);
      int64_t wrong = 0;
      for (int64_t i = 0; i < count; ++i) {
        const auto b = static_cast<float>(format->value(bias[i % num_columns]));
        const auto r = static_cast<float>(format->value(residual_before[static_cast<size_t>(i)]));
        wrong += residual[i] != format->nearest(expected(job, i, static_cast<float>(format->value(x[i])), &b, &r));
      }
      CHECK(wrong == 0);
      CHECK(residual.intact());
    }
  });
}

TEST_CASE("elements behind 2^34 have blocks of their own") {
  // Memory as if the tensor had begun far before: only the group's number matters to the mask.
  const int64_t begin = (int64_t{1} << 34) + 256, count = 300;
  for_every_isa<DropoutKernels>([&](const std::string& isa, const DropoutKernels& kernels) {
    std::vector<float> x(count, 1.0f), out(count);
    DropoutJob job = job_of(0.5f, 5, 6);
    job.x = reinterpret_cast<const float*>(reinterpret_cast<uintptr_t>(x.data()) - 4 * begin);
    job.out = reinterpret_cast<float*>(reinterpret_cast<uintptr_t>(out.data()) - 4 * begin);
    kernels.run_float32(job, begin, begin + count);
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; ++i) wrong += (out[static_cast<size_t>(i)] != 0) != is_kept(job, begin + i);
    CAPTURE(isa);
    CHECK(wrong == 0);
  });
}
