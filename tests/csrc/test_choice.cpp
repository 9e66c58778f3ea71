// The table that chooses algorithms.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "comm/schedule/choice.h"

using namespace mfugaku::comm::schedule;

namespace {

std::string chosen(const ChoiceTable& table, const Case& wanted) { return table.choose(wanted).name(); }

Case all_reduce_of(int64_t num_bytes, int num_ranks, bool is_half = false) {
  return {Collective::AllReduce, num_bytes, num_ranks, is_half, true};
}

}  // namespace

TEST_CASE("without rules the model chooses") {
  ChoiceTable table;
  const Costs network{1e-6, 2e-6, 0.5e-6, 1e-10, 1e-10, 2e-6, 2e-10, 4e-10};
  table.set_costs(network);
  CHECK_EQ(chosen(table, all_reduce_of(8, 4)), "doubling");
  CHECK_EQ(chosen(table, all_reduce_of(1 << 26, 4)), "pieces");
  CHECK_EQ(chosen(table, all_reduce_of(1 << 26, 512)), "halving");  // no network has room for all pieces at a time
  CHECK_EQ(chosen(table, {Collective::ReduceScatter, 8, 4, false, true}), "mpi");
  CHECK_EQ(chosen(table, {Collective::ReduceScatter, 8, 4, false, false}), "pieces");
  CHECK_EQ(chosen(table, {Collective::AllGather, 1 << 26, 4, false, false}), "pieces");
  Case on_nodes = all_reduce_of(1 << 26, 64);
  on_nodes.ranks_per_node = 4;
  CHECK_EQ(chosen(table, on_nodes).substr(0, 13), "hierarchical+");
  // Halves are widened for MPI.
  Case half = all_reduce_of(1 << 14, 6), full = half;
  half.is_half = true;
  const auto mpi = [&](const Case& wanted) { return expected_s(Choice::parse("mpi", "mpi"), wanted, network); };
  CHECK(mpi(half) > mpi(full));

  for (const int64_t num_bytes : {8, 1 << 12, 1 << 18, 1 << 24}) {
    const auto expected = table.expect(all_reduce_of(num_bytes, 12));
    CHECK_EQ(expected.size(), 5);
    CHECK_EQ(chosen(table, all_reduce_of(num_bytes, 12)), expected[0].first->name());
    for (size_t i = 1; i < expected.size(); ++i) CHECK(expected[i - 1].second <= expected[i].second);
  }
  table.set_costs({1, 1, 1, 1, 1, 0, 1e-9, 0});
  CHECK_EQ(chosen(table, all_reduce_of(1 << 26, 4)), "mpi");
}

TEST_CASE("costs are checked") {
  CHECK_EQ(Costs::of({0, 1, 2, 3, 4, 5, 6, 7}).values(), std::array<double, 8>{0, 1, 2, 3, 4, 5, 6, 7});
  for (const std::vector<double>& values : std::vector<std::vector<double>>{
           {0, 1, 2, 3, 4, 5, 6}, {0, 1, 2, 3, 4, 5, 6, 7, 8}, {0, 1, 2, 0, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5, 0, 7},
           {-1, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5, 6, std::numeric_limits<double>::infinity()},
           {0, std::nan(""), 2, 3, 4, 5, 6, 7}})
    CHECK_THROWS_AS(Costs::of(values), std::invalid_argument);
}

namespace {

// What the schedules of all ranks come to, at most.
std::array<int64_t, 3> count_of(const Choice& choice, Collective collective, const std::vector<int64_t>& counts) {
  std::array<int64_t, 3> most{};
  for (int rank = 0; rank < static_cast<int>(counts.size()); ++rank) {
    const Schedule schedule = choice.build({collective, rank, counts}, 4);
    std::array<int64_t, 3> found{};  // messages, bytes sent, bytes summed up
    for (int strand = 0; strand < schedule.num_strands; ++strand) {
      const Strand built = schedule.build_strand(strand);
      found[0] += static_cast<int64_t>(built.messages().size());
      for (const Message& message : built.messages()) found[1] += message.is_send ? message.count * 4 : 0;
      for (const Work& work : built.work()) found[2] += work.is_copy ? 0 : work.count * 4;
    }
    for (size_t i = 0; i < found.size(); ++i) most[i] = std::max(most[i], found[i]);
  }
  return most;
}

}  // namespace

TEST_CASE("the model counts what schedules have") {
  for (const char* name : {"ring", "halving", "doubling", "lanes:2x3", "lanes:4x3", "lanes:8"})
    for (const int num_ranks : {2, 3, 4, 6, 8, 12})
      for (const Collective collective : {Collective::AllReduce, Collective::ReduceScatter, Collective::AllGather}) {
        const Choice choice = Choice::parse(name, name);
        const int64_t block = 240 * 1024;
        const Case wanted{collective, block * 4 * num_ranks, num_ranks, false, true};
        if (!choice.can(wanted)) continue;
        INFO(name, " ", num_ranks, " ", static_cast<int>(collective));
        const auto most = count_of(choice, collective, std::vector<int64_t>(static_cast<size_t>(num_ranks), block));
        const auto terms = terms_of(choice, wanted);
        const double num_ports = choice.plan ? std::min<double>(static_cast<double>(choice.plan->lanes.size()), 6) : 1;
        const bool is_power = (num_ranks & (num_ranks - 1)) == 0;
        if (is_power || choice.algorithm != Algorithm::Doubling) {
          // Blocks around the end of the vector take a message more, which the model leaves out.
          CHECK(terms[2] <= 1.01 * static_cast<double>(most[0]));
          CHECK(terms[2] >= (choice.algorithm == Algorithm::Halving ? 0.7 : 0.99) * static_cast<double>(most[0]));
          CHECK_EQ(terms[4], doctest::Approx(static_cast<double>(most[2])).epsilon(0.01));
          CHECK_EQ(terms[3] * num_ports, doctest::Approx(static_cast<double>(most[1])).epsilon(0.01));
        } else {  // the ranks that fold in and those they fold into have less to do than the sum of all rounds
          CHECK(terms[3] >= static_cast<double>(most[1]));
        }
      }
}

TEST_CASE("rules of a text come first, and only where they fit") {
  ChoiceTable table;
  table.set("all_reduce:65536=lanes:2x3,all_reduce:1000=ring,all=doubling,reduce_scatter=mpi,all=halving");
  CHECK_EQ(chosen(table, all_reduce_of(65536, 6)), "lanes:2x3");
  CHECK_EQ(chosen(table, all_reduce_of(65536, 7)), "ring");
  CHECK_EQ(chosen(table, all_reduce_of(1000, 6)), "ring");
  CHECK_EQ(chosen(table, all_reduce_of(999, 6)), "doubling");
  CHECK_EQ(chosen(table, {Collective::ReduceScatter, 999, 6, false, true}), "mpi");
  CHECK_EQ(chosen(table, {Collective::ReduceScatter, 999, 6, false, false}), "halving");
  CHECK_EQ(chosen(table, {Collective::AllGather, 999, 6, false, true}), "halving");
  CHECK_EQ(table.describe()[0], "all_reduce:65536=lanes:2x3");
  CHECK_EQ(table.describe().size(), 5);
  CHECK_THROWS_AS(table.set("all=ring,all=quick"), std::invalid_argument);
  CHECK_EQ(table.describe()[0], "all_reduce:65536=lanes:2x3");
  table.set("");
  CHECK(table.describe().empty());
}

TEST_CASE("rules for swing and for nodes of several ranks") {
  ChoiceTable table;
  table.set("all_reduce:1000=hierarchical:4+lanes:2x3,all=hierarchical+ring,all=swing:2x3,all=swing");
  Case wanted = all_reduce_of(1000, 24);
  CHECK_EQ(chosen(table, wanted), "hierarchical:4+lanes:2x3");
  wanted.num_bytes = 999;
  CHECK_EQ(chosen(table, wanted), "swing");
  wanted.ranks_per_node = 4;
  CHECK_EQ(chosen(table, wanted), "hierarchical+ring");
  wanted.ranks_per_node = 24;  // one node
  CHECK_EQ(chosen(table, wanted), "swing");
  CHECK_EQ(chosen(table, all_reduce_of(1000, 6)), "swing:2x3");
  CHECK_EQ(chosen(table, all_reduce_of(1000, 23)), "swing");
  for (const char* text : {"all=hierarchical", "all=hierarchical:4", "all=hierarchical:1+ring", "all=hierarchical:+ring",
                           "all=hierarchical:x+ring", "all=hierarchical+mpi", "all=hierarchical+doubling", "all=swing:",
                           "all=swing:2y", "all=hierarchical+hierarchical+ring", "all=hierarchical2+ring"})
    CHECK_THROWS_AS(table.set(text), std::invalid_argument);
  // Chunks of unlike length, and yet the same strands everywhere.
  table.set("all=hierarchical:2+ring");
  const Choice& choice = table.choose(all_reduce_of(1, 4));
  int strands = 0;
  for (int rank = 0; rank < 4; ++rank) {
    const Schedule schedule = choice.build(all_reduce_task(rank, 4, 20481), 4);
    if (rank > 0) CHECK_EQ(schedule.num_strands, strands);
    strands = schedule.num_strands;
  }
}

TEST_CASE("measured rules stand between those of the user and the model") {
  ChoiceTable table;
  table.set_costs({1, 1, 1, 1, 1, 0, 1e-9, 0});  // it takes MPI
  table.set("all_reduce:1000=ring", "all_reduce@6:100=halving,all_reduce@7=swing");
  CHECK_EQ(chosen(table, all_reduce_of(1000, 6)), "ring");
  CHECK_EQ(chosen(table, all_reduce_of(999, 6)), "halving");
  CHECK_EQ(chosen(table, all_reduce_of(99, 6)), "mpi");
  CHECK_EQ(chosen(table, all_reduce_of(999, 7)), "swing");
  CHECK_EQ(chosen(table, all_reduce_of(999, 8)), "mpi");
  CHECK_EQ(table.describe()[1], "all_reduce@6:100=halving");
  CHECK_EQ(table.sources()[0], "asked for");
  CHECK_EQ(table.sources()[2], "measured");
  CHECK_EQ(table.sources().size(), table.describe().size());
  for (const char* text : {"all@=ring", "all@x=ring", "all@6:=ring", "all:5@6=ring"})
    CHECK_THROWS_AS(table.set("", text), std::invalid_argument);
  CHECK_EQ(table.describe()[1], "all_reduce@6:100=halving");
}

TEST_CASE("a narrow wire goes by a schedule unless the user wants another way") {
  ChoiceTable table;
  Case wanted = all_reduce_of(1 << 20, 4);
  wanted.is_narrow = true;
  const auto is_narrow = [&] { return table.choose(wanted).may_be_narrow(); };
  CHECK(is_narrow());
  wanted.ranks_per_node = 2;
  CHECK(is_narrow());
  for (const auto& [choice, seconds] : table.expect(wanted)) CHECK(choice->may_be_narrow());
  table.set_costs({1, 1, 1, 1, 1, 0, 1e-9, 0});
  CHECK(is_narrow());
  table.set("all=pieces");
  CHECK_EQ(chosen(table, wanted), "pieces");
}

TEST_CASE("long vectors go in more segments, up to a limit") {
  ChoiceTable table;
  table.set("all=lanes:2x3");
  const Choice& choice = table.choose(all_reduce_of(1, 6));
  const auto strands = [&](int64_t num_bytes) {
    return choice.build(all_reduce_task(0, 6, num_bytes / 4), 4).num_strands;
  };
  const int lanes = strands(4);
  CHECK_EQ(lanes, static_cast<int>(choice.plan->lanes.size()));
  CHECK_EQ(lanes, 3);
  CHECK_EQ(strands(int64_t{10} * lanes * 3 * (lanes * 20480)), 10 * lanes);
  CHECK_EQ(strands(int64_t{1} << 32), 64 * lanes);
}

TEST_CASE("a group on a torus of its own") {
  const std::vector<int> places = {0, 1, 2, 5, 4, 3};
  const std::vector<Lane> lanes = weigh_lanes(Torus::parse("3x2"), 6);
  const Choice own = Choice::of_lanes("3x2", places, lanes);
  Case wanted = all_reduce_of(1 << 24, 6);
  wanted.placed = &own;
  ChoiceTable table;
  CHECK_EQ(chosen(table, wanted), "lanes:3x2");
  table.set("all_reduce=ring");
  CHECK_EQ(chosen(table, wanted), "ring");
  table.set("reduce_scatter=ring");
  CHECK_EQ(chosen(table, wanted), "lanes:3x2");
  wanted.num_bytes = 8;
  CHECK_NE(chosen(table, wanted), "lanes:3x2");

  const std::vector<std::vector<int>> wrong = {{0, 1, 2, 3, 4}, {0, 1, 2, 3, 4, 6}, {0, 1, 2, 3, 4, 4}};
  for (const auto& others : wrong) CHECK_THROWS_AS(Choice::of_lanes("3x2", others, lanes), std::invalid_argument);
  CHECK_THROWS_AS(Choice::of_lanes("3x2", places, {{{0, 1}, {1, 1}, 0.5}}), std::invalid_argument);
  CHECK_THROWS_AS(Choice::of_lanes("3x2", places, {{{0}, {1}, 1.0}}), std::invalid_argument);
  CHECK_THROWS_AS(Choice::of_lanes("3x2", places, {{{1, 0}, {1, 0}, 1.0}}), std::invalid_argument);
  CHECK_THROWS_AS(Choice::of_lanes("3x2", places, {}), std::invalid_argument);
}
