// Sums of float32 whose messages carry 16-bit floats, against float64.
#include <doctest/doctest.h>

#include <cmath>

#include "comm/rehearsal.h"
#include "comm/schedule/algorithms.h"
#include "support.h"

using namespace mfugaku::comm;
using namespace mfugaku::comm::schedule;
using mfugaku::tests::same;

namespace {

using Build = std::function<Schedule(const Task&)>;

Schedule ring_of(const Task& task) { return ring(task, 1); }

Build lanes_on(const char* shape) {
  const Torus torus = Torus::parse(shape);
  const std::vector<Lane> lanes = weigh_lanes(torus, 6);
  return [=](const Task& task) { return torus_lanes(task, torus, lanes, 2); };
}

Schedule swing_of(const Task& task) { return swing(task, Torus::ring(task.size()), 1); }

std::vector<std::vector<float>> inputs_of(int num_ranks, int64_t count) {
  mfugaku::tests::Random random(3);
  std::vector<std::vector<float>> inputs(static_cast<size_t>(num_ranks));
  for (auto& input : inputs)
    for (int64_t i = 0; i < count; ++i) input.push_back(static_cast<float>(random.between(-1, 1)));
  return inputs;
}

}  // namespace

TEST_CASE("the error of a sum over 288 ranks is below what roundings of equal size on every way add up to") {
  // Rounding to b bits of mantissa is off by at most 2^-(b+1), and by 0.4 of that in the root mean square. A chain that
  // has summed up k of p ranks holds sqrt(k/p) of the final sum, so p roundings along it come to sqrt(p/2) of one.
  const double chain = std::sqrt(288 / 2.0), two_chains = std::sqrt(24 / 2.0 + 12 / 2.0), tree = std::sqrt(9.0);
  for (const auto& [type, bits] : {std::pair{DataType::BFloat16, 7}, {DataType::Float16, 10}}) {
    const double unit = std::ldexp(0.42, -(bits + 1));
    for (const auto& [build, roundings] :
         {std::pair<Build, double>{ring_of, chain}, {lanes_on("24x12l"), two_chains}, {swing_of, tree}}) {
      const SumError error = error_of_all_reduce(288, 2 * 288, build, type);
      INFO(bits << " " << roundings << ": " << error.rms << " and at most " << error.largest);
      CHECK(error.rms < 1.3 * unit * std::sqrt(roundings * roundings + 1));
      CHECK(error.rms > 0.5 * unit * roundings);
      CHECK(error.largest < 7 * unit * std::sqrt(roundings * roundings + 1));
    }
  }
  CHECK(error_of_all_reduce(288, 2 * 288, ring_of, DataType::Float32).rms < std::ldexp(0.42 * chain, -24) * 1.3);
}

TEST_CASE("all ranks have the same bits, and results of a reduce-scatter are not rounded") {
  const auto on_nodes = [](const Task& task) { return hierarchical(task, 2, swing_of); };
  for (const DataType type : {DataType::BFloat16, DataType::Float16})
    for (const Build& build :
         {Build(recursive_halving), Build(ring_of), Build(swing_of), lanes_on("2x3"), Build(on_nodes)}) {
      const auto inputs = inputs_of(6, 100);
      const auto results = rehearse_sum(Collective::AllReduce, inputs, build, {type, true});
      for (const auto& result : results) CHECK(result == results[0]);
      for (const float value : results[0]) {
        float rounded = value;
        Wire{type}.round(&rounded, 1);
        CHECK(same(rounded, value));
      }
      const auto blocks = rehearse_sum(Collective::ReduceScatter, inputs, build, {type, false});
      int num_rounded = 0;
      for (const auto& block : blocks)
        for (const float value : block) {
          float rounded = value;
          Wire{type}.round(&rounded, 1);
          num_rounded += same(rounded, value);
        }
      CHECK(num_rounded < 20);  // of 100
    }
}

TEST_CASE("what float16 cannot hold becomes an infinity, on all ranks") {
  std::vector<std::vector<float>> inputs(3, std::vector<float>(9, 30'000.0f));
  for (const auto& result : rehearse_sum(Collective::AllReduce, inputs, ring_of, {DataType::Float16, true}))
    for (const float value : result) CHECK(std::isinf(value));
  for (const auto& result : rehearse_sum(Collective::AllReduce, inputs, ring_of, {DataType::BFloat16, true}))
    for (const float value : result) CHECK(value == doctest::Approx(90'000).epsilon(0.01));
}
