// The rope kernels of every instruction set against double, and against each other.
#include <doctest/doctest.h>

#include "kernels/rope/rope.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

namespace {

constexpr int64_t kPositions = 3, kBatches = 2, kHeads = 3;

struct Shape {
  int64_t width, rotated;
  int64_t count() const { return kPositions * kBatches * kHeads * width; }
  int64_t num_angles() const { return kPositions * rotated / 2; }
};

// Heads in a projection of queries, keys and values: each has two others behind it.
RopeJob job_of(const Shape& shape, const void* x, void* out, const float* cosines, const float* sines, bool interleaved,
               bool inverse) {
  return {x, kBatches * kHeads * 3 * shape.width, kHeads * 3 * shape.width, 3 * shape.width, out, cosines, sines,
          kBatches, kHeads, shape.width, shape.rotated, interleaved, inverse};
}

struct Angles {
  std::vector<float> cosines, sines;
  explicit Angles(const Shape& shape) {
    for (int64_t i = 0; i < shape.num_angles(); ++i) {
      cosines.push_back(static_cast<float>(std::cos(0.1 * static_cast<double>(i * i))));
      sines.push_back(static_cast<float>(std::sin(0.1 * static_cast<double>(i * i))));
    }
  }
};

}  // namespace

TEST_CASE("every pair of every width is turned by its own angle, the rest stays, and nothing else is touched") {
  std::vector<Shape> shapes;
  for (const int64_t count : sizes())
    if (count <= 257) shapes.push_back({2 * count, 2 * count}), shapes.push_back({2 * count + 3, 2 * count});
  std::vector<uint64_t> prints;
  for_every_isa<RopeKernels>([&](const std::string& isa, const RopeKernels& kernels) {
    CAPTURE(isa);
    uint64_t print = 0;
    for (const Shape& shape : shapes)
      for (const Edge edge : {Edge::AtStart, Edge::AtEnd})
        for (const bool interleaved : {false, true})
          for (const bool inverse : {false, true}) {
            CAPTURE(shape.width);
            CAPTURE(interleaved);
            const Angles angles(shape);
            Guarded<float> x(3 * shape.count(), edge), out(shape.count(), edge);
            Guarded<float> cosines(shape.num_angles(), edge), sines(shape.num_angles(), edge);
            copy_into(x, uniform(x.size(), 1));
            copy_into(cosines, angles.cosines);
            copy_into(sines, angles.sines);
            const RopeJob job = job_of(shape, x.data(), out.data(), cosines.data(), sines.data(), interleaved, inverse);
            kernels.float32(job, 4, kPositions * kBatches);
            kernels.float32(job, 0, 4);
            int64_t wrong = 0;
            for (int64_t row = 0; row < kPositions * kBatches * kHeads; ++row) {
              const int64_t position = row / (kBatches * kHeads), pairs = shape.rotated / 2;
              const float *from = x.data() + 3 * row * shape.width, *to = out.data() + row * shape.width;
              for (int64_t i = 0; i < pairs; ++i) {
                const int64_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + pairs;
                const double a = from[first], b = from[second], cosine = cosines[position * pairs + i];
                const double sine = inverse ? -sines[position * pairs + i] : sines[position * pairs + i];
                const double bound = 1.2e-7 * (std::fabs(a) + std::fabs(b));
                wrong += !(std::fabs(to[first] - (a * cosine - b * sine)) <= bound);
                wrong += !(std::fabs(to[second] - (b * cosine + a * sine)) <= bound);
              }
              for (int64_t i = shape.rotated; i < shape.width; ++i) wrong += to[i] != from[i];
            }
            CHECK(wrong == 0);
            CHECK(out.intact());
            print = fingerprint(std::vector<float>(out.data(), out.data() + out.size()), print);
          }
    prints.push_back(print);
  });
  for (const uint64_t print : prints) CHECK(print == prints.front());
  CHECK(prints.front() == 0x1569b734563b22f0ull);  // what x86 and Arm must find
}

TEST_CASE("halves are turned in float32 and rounded once") {
  const Shape shape = {70, 66};
  const Angles angles(shape);
  for_every_isa<RopeKernels>([&](const std::string& isa, const RopeKernels& kernels) {
    CAPTURE(isa);
    for (const HalfFormat* format : {&kBFloat16, &kFloat16})
      for (const bool interleaved : {false, true}) {
        Random random(5);
        Guarded<uint16_t> x(3 * shape.count(), Edge::AtEnd), out(shape.count(), Edge::AtEnd);
        std::vector<float> wide, wide_out(static_cast<size_t>(shape.count()));
        for (int64_t i = 0; i < x.size(); ++i) {
          x[i] = format->nearest(random.between(-4, 4));
          wide.push_back(static_cast<float>(format->value(x[i])));
        }
        const auto job = [&](const void* from, void* to) {
          return job_of(shape, from, to, angles.cosines.data(), angles.sines.data(), interleaved, false);
        };
        (format == &kBFloat16 ? kernels.bfloat16 : kernels.float16)(job(x.data(), out.data()), 0,
                                                                    kPositions * kBatches);
        kernels.float32(job(wide.data(), wide_out.data()), 0, kPositions * kBatches);
        int64_t wrong = 0;
        for (int64_t i = 0; i < out.size(); ++i) wrong += out[i] != format->nearest(wide_out[static_cast<size_t>(i)]);
        CHECK(wrong == 0);
        CHECK(out.intact());
      }
  });
}
