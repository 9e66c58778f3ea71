// Every algorithm on all ranks at once, for many sizes and numbers of ranks: right results everywhere, a receive for
// every send, no deadlock, no memory used twice at a time.
#include <doctest/doctest.h>

#include <algorithm>

#include "comm/schedule/algorithms.h"
#include "schedule_world.h"
#include "support.h"

using namespace mfugaku::comm::schedule;
using mfugaku::tests::Algebra;
using mfugaku::tests::Random;
using mfugaku::tests::World;
using mfugaku::tests::WorldResult;

namespace {

constexpr Collective kCollectives[] = {Collective::AllReduce, Collective::ReduceScatter, Collective::AllGather};
constexpr int kSizes[] = {1, 2, 3, 5, 6, 7, 8, 12, 16, 24, 48, 288};

Task even_task(Collective collective, int size, int64_t count) {
  Task task = all_reduce_task(0, size, count);
  task.collective = collective;
  return task;
}

// Blocks of very different lengths, empty ones among them.
Task uneven_task(Collective collective, int size, uint64_t seed) {
  Random random(seed);
  Task task{collective, 0, {}};
  for (int i = 0; i < size; ++i)
    task.counts.push_back(random.bits() % 3 == 0 ? 0 : static_cast<int64_t>(random.bits() % 40));
  return task;
}

const char* const kNames[] = {"all-reduce", "reduce-scatter", "all-gather"};

// Runs a task in two orders; the results must be the same bits, for all-reduce on all ranks.
void check(const Task& task, const World::Build& build, const std::string& what) {
  const std::string name = std::string(kNames[static_cast<int>(task.collective)]) + " by " + what + ", " +
                           std::to_string(task.size()) + " ranks, " + std::to_string(begins_of(task.counts).back()) +
                           " elements: ";
  const WorldResult sums = World(task, build, true, Algebra::Sum, 1).run();
  CHECK_EQ(name + sums.fault, name);
  if (task.size() > 100) return;  // what follows takes its time and is about the kind of schedule
  const WorldResult trees = World(task, build, false, Algebra::Tree, 2).run();
  CHECK_EQ(name + trees.fault, name);
  const WorldResult again = World(task, build, true, Algebra::Tree, 3).run();
  CHECK_MESSAGE(trees.outputs == again.outputs, name << "results depend on timing");
  if (task.collective == Collective::AllReduce && trees.fault.empty())
    for (const auto& output : trees.outputs)
      REQUIRE_MESSAGE(output == trees.outputs[0], name << "ranks have different sums");
}

void check_sizes(const World::Build& build, const std::string& what, int size) {
  for (const Collective collective : kCollectives) {
    if (what == "doubling" && collective != Collective::AllReduce) continue;
    for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{2 * size - 1}, int64_t{7 * size + 3}})
      if (size <= 16 || count == 2 * size - 1) check(even_task(collective, size, count), build, what);
    if (what != "doubling") check(uneven_task(collective, size, 7), build, what);
  }
}

World::Build ring_of(int num_segments) {
  return [=](const Task& task) { return ring(task, num_segments); };
}

World::Build lanes_on(const std::string& shape, int num_segments, int max_ports = 6) {
  const Torus torus = Torus::parse(shape);
  const std::vector<Lane> lanes = weigh_lanes(torus, max_ports);
  return [=](const Task& task) { return torus_lanes(task, torus, lanes, num_segments); };
}

World::Build swing_on(const Torus& torus, int num_lanes) {
  return [=](const Task& task) { return swing(task, torus, num_lanes); };
}

// Most elements that a rank sends.
int64_t most_sent(const WorldResult& result) { return *std::max_element(result.sent.begin(), result.sent.end()); }

}  // namespace

// The suite's name is known to docker/lane/parts.sh: nothing in it depends on the processor.
TEST_SUITE_BEGIN("schedules");

TEST_CASE("recursive doubling") {
  for (const int size : kSizes) check_sizes(recursive_doubling, "doubling", size);
  check(even_task(Collective::AllReduce, 1000, 3), recursive_doubling, "doubling");
}

TEST_CASE("recursive halving and doubling") {
  for (const int size : kSizes) check_sizes(recursive_halving, "halving", size);
  for (const Collective collective : kCollectives)
    check(even_task(collective, 1000, 1777), recursive_halving, "halving");
}

TEST_CASE("a ring, whole and in segments") {
  for (const int size : kSizes) {
    check_sizes(ring_of(1), "ring", size);
    if (size <= 24) check_sizes(ring_of(5), "ring of 5 segments", size);
    if (size <= 7) check_sizes(ring_of(8), "ring of 8 segments", size);
  }
  CHECK_EQ(World(even_task(Collective::AllReduce, 1000, 1777), ring_of(1), true, Algebra::Sum, 1).run().fault, "");
}

TEST_CASE("lanes on a torus") {
  for (const char* shape : {"1", "6", "2x3", "3x2", "2x2", "2x3x2", "1x5x1x2l", "4x4x4", "3x4l", "8x6l", "2x2x2x2x2x3"})
    for (const int num_segments : {1, 4}) check_sizes(lanes_on(shape, num_segments), shape, Torus::parse(shape).size());
  for (const char* shape : {"24x12", "24x12l", "24x2x3x2"})
    for (const Collective collective : kCollectives) {
      check(even_task(collective, 288, 5000), lanes_on(shape, 2), shape);
      check(uneven_task(collective, 288, 5), lanes_on(shape, 1), shape);
    }
}

// Segments differ from 4 on, and those of an all-reduce from 8 on.
TEST_CASE("lanes in segments of different length") {
  for (const char* shape : {"3", "2x3", "2x3x2", "3x4l"})
    for (const int num_segments : {8, 13, 16}) {
      const int size = Torus::parse(shape).size();
      check_sizes(lanes_on(shape, num_segments), shape, size);
      for (const Collective collective : kCollectives) {
        check(even_task(collective, size, 997), lanes_on(shape, num_segments), shape);
        check(uneven_task(collective, size, 83), lanes_on(shape, num_segments), shape);
      }
    }
}

TEST_CASE("segments grow and shrink in equal steps where messages are small") {
  constexpr int kShare = 100'000;  // of one of two lanes in one of three blocks
  for (const Collective collective : kCollectives)
    for (const int num_segments : {1, 3, 4, 7, 8, 16, 64}) {
      const Schedule schedule = ring(even_task(collective, 3, 3 * 2 * kShare), num_segments);
      std::vector<double> lengths;
      double sum = 0;
      for (int i = 0; i < schedule.num_strands; i += schedule.num_strands / num_segments) {
        lengths.push_back(static_cast<double>(schedule.build_strand(i).messages().back().count));
        sum += lengths.back();
      }
      CHECK_EQ(lengths.size(), num_segments);
      CHECK_EQ(sum, doctest::Approx(kShare).epsilon(0.001));
      const int ramp = std::clamp(num_segments / (collective == Collective::AllReduce ? 4 : 2), 1, 8);
      const auto steps = [&](int i) {
        const int from_begin = collective == Collective::ReduceScatter ? ramp : i + 1;
        const int from_end = collective == Collective::AllGather ? ramp : num_segments - i;
        return std::min({from_begin, from_end, ramp});
      };
      int num_steps = 0;
      for (int i = 0; i < num_segments; ++i) num_steps += steps(i);
      for (int i = 0; i < num_segments; ++i)
        CHECK(std::abs(lengths[static_cast<size_t>(i)] - 1.0 * kShare * steps(i) / num_steps) <= 2);
    }
}

TEST_CASE("lanes with ranks at other places") {
  for (const char* shape : {"3x2", "3lx2x4", "5"}) {
    const Torus torus = Torus::parse(shape);
    std::vector<int> places;
    for (int rank = 0; rank < torus.size(); ++rank) places.push_back((7 * rank + 3) % torus.size());
    const Torus placed = torus.with_places(places);
    for (int rank = 0; rank < torus.size(); ++rank)
      for (int d = 0; d < torus.num_dimensions(); ++d) {
        CHECK_EQ(placed.coordinate(rank, d), torus.coordinate(places[static_cast<size_t>(rank)], d));
        CHECK_EQ(placed.moved(rank, d, placed.coordinate(rank, d)), rank);
      }
    const std::vector<Lane> lanes = weigh_lanes(torus, 6);
    check_sizes([=](const Task& task) { return torus_lanes(task, placed, lanes, 2); }, std::string("places on ") + shape,
                torus.size());
  }
}

TEST_CASE("lanes on a torus of 1728 ranks") {
  const Task task = even_task(Collective::AllReduce, 1728, 3000);
  CHECK_EQ(World(task, lanes_on("12x12x12", 1), true, Algebra::Sum, 1).run().fault, "");
}

TEST_CASE("swing on a ring of any length") {
  for (int size = 1; size <= 40; size += size < 24 ? 1 : 3) {
    const Torus torus = Torus::ring(size);
    if (size <= 16) check_sizes(swing_on(torus, 1), "swing", size);
    const int lanes = most_swing_lanes(torus);
    for (const Collective collective : kCollectives)
      check(even_task(collective, size, 3 * size + 1), swing_on(torus, lanes), "swing");
  }
  for (const int size : {96, 288, 999, 1024})
    check(even_task(size == 96 ? Collective::ReduceScatter : Collective::AllReduce, size, size + 1),
          swing_on(Torus::ring(size), 1), "swing");
}

TEST_CASE("swing on a torus") {
  for (const char* shape : {"2x3", "3x2", "2x2", "2x3x2", "1x5x1x2l", "4x4", "3x4l", "8x6l"}) {
    const Torus torus = Torus::parse(shape);
    check_sizes(swing_on(torus, most_swing_lanes(torus)), shape, torus.size());
  }
  for (const char* shape : {"4x4x4", "24x12"})
    for (const Collective collective : kCollectives)
      check(even_task(collective, Torus::parse(shape).size(), 300), swing_on(Torus::parse(shape), 3), shape);
}

TEST_CASE("swing takes few messages, and no more bytes than it must") {
  for (const auto& [shape, rounds] :
       {std::pair{"16", 4}, {"4x4", 4}, {"4x2x2", 4}, {"6x12", 7}, {"2x3", 3}, {"7", 3}}) {
    const Torus torus = Torus::parse(shape);
    const int size = torus.size();
    const WorldResult result =
        World(even_task(Collective::AllReduce, size, 100 * size), swing_on(torus, 1), true, Algebra::Sum, 1).run();
    INFO(shape);
    CHECK_EQ(most_sent(result), 200 * (size - 1));
    const bool is_power_of_two = (size & (size - 1)) == 0;
    if (is_power_of_two) CHECK_EQ(result.num_messages, size * 2 * rounds);
    CHECK(result.num_messages <= size * 3 * rounds);  // bare contributions and sums go apart
    int longest = 0;
    for (int rank = 0; rank < size; ++rank)
      longest = std::max(longest, swing(all_reduce_task(rank, size, 100 * size), torus, 1).build_strand(0).num_rounds());
    CHECK_EQ(longest, 2 * rounds + 1);
    if (!is_power_of_two) continue;
    const Strand strand = swing(all_reduce_task(1, size, 100 * size), torus, 1).build_strand(0);
    for (const Work& work : strand.work()) CHECK_FALSE(work.is_copy);
  }
}

TEST_CASE("schedules between nodes of several ranks") {
  const auto on_nodes = [](int ranks_per_node, const World::Build& inner) -> World::Build {
    return [=](const Task& task) { return hierarchical(task, ranks_per_node, inner); };
  };
  for (const auto& [num_nodes, ranks_per_node] : {std::pair{2, 2}, {3, 2}, {2, 3}, {4, 4}, {6, 4}}) {
    const int size = num_nodes * ranks_per_node;
    const std::string shape = std::to_string(num_nodes);
    check_sizes(on_nodes(ranks_per_node, ring_of(3)), "a ring of nodes", size);
    check_sizes(on_nodes(ranks_per_node, recursive_halving), "halving between nodes", size);
    check_sizes(on_nodes(ranks_per_node, swing_on(Torus::parse(shape), 1)), "swing between nodes", size);
  }
  check_sizes(on_nodes(2, lanes_on("2x3", 2)), "lanes of nodes", 12);
  check_sizes(on_nodes(4, lanes_on("6x12l", 1)), "lanes of nodes", 288);
  // There and back, three chunks to the others of the node and a ring of six nodes with the own one.
  const Task task = even_task(Collective::AllReduce, 24, 24'000);
  const WorldResult result = World(task, on_nodes(4, ring_of(1)), true, Algebra::Sum, 1).run();
  CHECK_EQ(most_sent(result), 2 * (3 * 6000 + 5 * 1000));
}

TEST_CASE("no rank sends more than it must") {
  for (const int size : {2, 3, 6, 12, 48}) {
    const int64_t count = 1000 * size;
    for (const Collective collective : kCollectives) {
      const int64_t least = (collective == Collective::AllReduce ? 2 : 1) * 1000 * (size - 1);
      const Task task = even_task(collective, size, count);
      CHECK_EQ(most_sent(World(task, recursive_halving, true, Algebra::Sum, 1).run()), least);
      CHECK(most_sent(World(task, ring_of(3), true, Algebra::Sum, 1).run()) <= least + 6);  // where it is cut
    }
  }
  const Task task = even_task(Collective::AllReduce, 64, 64'000);
  const WorldResult on_lanes = World(task, lanes_on("4x4x4", 2), true, Algebra::Sum, 1).run();
  CHECK_EQ(most_sent(on_lanes), doctest::Approx(126'000).epsilon(0.002));
}

TEST_CASE("faults of a schedule are found") {
  const Task task = even_task(Collective::AllReduce, 6, 60);
  const auto fault_of = [&](const std::function<void(Strand&, int rank)>& add) {
    const auto build = [&](const Task& of_rank) {
      Schedule schedule = ring(of_rank, 1);
      schedule.build_strand = [=, whole = schedule.build_strand](int i) {
        Strand strand = whole(i);
        if (i == 0) add(strand, of_rank.rank);
        return strand;
      };
      return schedule;
    };
    return World(task, build, true, Algebra::Sum, 1).run().fault;
  };
  const auto contains = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  constexpr Place input{Buffer::Input, 0}, output{Buffer::Output, 0};
  constexpr Place raw{Buffer::Elements, 0}, sum{Buffer::Partials, 0};
  CHECK_EQ(fault_of([](Strand&, int) {}), "");
  CHECK(contains(fault_of([=](Strand& s, int r) { if (r == 1) s.reduce(output, input, raw, 1); }), "once"));
  CHECK(contains(fault_of([=](Strand& s, int r) {
                   s.begin_round();
                   if (r == 1) s.send(2, output, 1);
                 }), "waits for ever"));
  CHECK(contains(fault_of([=](Strand& s, int r) {
                   s.begin_round();
                   if (r == 1) s.receive(2, raw, 1);
                 }), "waits for ever"));
  CHECK(contains(fault_of([=](Strand& s, int r) {
                   s.begin_round();
                   if (r == 1) s.send(2, output, 1);
                   if (r == 2) s.receive(1, raw, 2);
                 }), "waits for 2"));
  CHECK(contains(fault_of([=](Strand& s, int r) {
                   s.begin_round();
                   if (r == 1) s.send(2, sum, 1);
                   if (r == 2) s.receive(1, output, 1);
                 }), "sums for elements"));
  CHECK(contains(fault_of([=](Strand& s, int r) {
                   s.begin_round();
                   if (r == 1) s.send(2, output, 2);
                   if (r == 2) s.receive(1, output, 2);
                   if (r == 2) s.send(1, output + 1, 1);
                   if (r == 1) s.receive(2, raw, 1);
                 }), "being received into"));
  CHECK(contains(fault_of([=](Strand& s, int r) {
                   s.begin_round();
                   if (r == 3) s.send(2, output + 60, 1);
                 }), "outside"));
}

TEST_CASE("shapes of a torus") {
  const Torus torus = Torus::parse("24x2x3l");
  CHECK_EQ(torus.size(), 144);
  CHECK_EQ(torus.num_ports(), 4);
  CHECK_EQ(torus.coordinate(25, 0), 1);
  CHECK_EQ(torus.coordinate(25, 1), 1);
  CHECK_EQ(torus.moved(25, 1, 2), 1);
  CHECK_EQ(torus.moved(0, 2, -1), 96);
  for (const char* text : {"", "x", "2x", "2xx3", "0x2", "2x3m", "l", "-2", "2x2x2x2x2x2x2", "99999999"})
    CHECK_THROWS_AS(Torus::parse(text), std::invalid_argument);
}

TEST_CASE("weights of lanes reach the bound of the links") {
  for (const char* shape : {"2", "6", "2x3", "2x3x2", "4x4x4", "8x8x8", "24x12l", "24x2x3lx2", "24x2x24x2x3x2"})
    for (const int max_ports : {6, 100}) {
      const Torus torus = Torus::parse(shape);
      const std::vector<Lane> lanes = weigh_lanes(torus, max_ports);
      double sum = 0;
      for (const Lane& lane : lanes) sum += lane.weight;
      CHECK(sum == doctest::Approx(1));
      INFO(shape);
      CHECK(load_of(torus, lanes, max_ports) == doctest::Approx(least_load_of(torus, max_ports)).epsilon(1e-9));
    }
  // Equal shares of the rotated orders do not, where dimensions have different numbers of directions.
  const std::vector<Lane> rotated = {{{0, 1}, {1, 1}, 1. / 3}, {{1, 0}, {1, 1}, 1. / 3}, {{1, 0}, {1, -1}, 1. / 3}};
  CHECK(load_of(Torus::parse("2x3"), rotated, 6) > 1.05 * least_load_of(Torus::parse("2x3"), 6));
}

TEST_SUITE_END();
