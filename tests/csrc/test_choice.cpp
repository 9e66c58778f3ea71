// The table that chooses algorithms.
#include <doctest/doctest.h>

#include <stdexcept>

#include "comm/schedule/choice.h"

using namespace mfugaku::comm::schedule;

namespace {

std::string chosen(const ChoiceTable& table, const Case& wanted) { return table.choose(wanted).name(); }

Case all_reduce_of(int64_t num_bytes, int num_ranks, bool is_half = false) {
  return {Collective::AllReduce, num_bytes, num_ranks, is_half, true};
}

}  // namespace

TEST_CASE("the built-in rules") {
  const ChoiceTable table;
  CHECK_EQ(chosen(table, all_reduce_of(4 * 65536 - 1, 4)), "mpi");
  CHECK_EQ(chosen(table, all_reduce_of(4 * 65536, 4)), "pieces");
  CHECK_EQ(chosen(table, all_reduce_of(int64_t{65} << 20, 65)), "mpi");
  CHECK_EQ(chosen(table, all_reduce_of(4 * 1023, 4, true)), "mpi");
  CHECK_EQ(chosen(table, all_reduce_of(4 * 1024, 4, true)), "pieces");
  CHECK_EQ(chosen(table, all_reduce_of(int64_t{1024} * 1000, 1000, true)), "pieces");
  CHECK_EQ(chosen(table, {Collective::ReduceScatter, 8, 4, false, true}), "mpi");
  CHECK_EQ(chosen(table, {Collective::ReduceScatter, 8, 4, false, false}), "pieces");
  CHECK_EQ(chosen(table, {Collective::AllGather, 1 << 20, 4, false, true}), "mpi");
  CHECK_EQ(chosen(table, {Collective::AllGather, 1 << 20, 4, false, false}), "pieces");
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
  CHECK_EQ(table.describe().size(), 5 + ChoiceTable().describe().size());
  CHECK_THROWS_AS(table.set("all=ring,all=quick"), std::invalid_argument);
  CHECK_EQ(table.describe()[0], "all_reduce:65536=lanes:2x3");
  table.set("");
  CHECK_EQ(table.describe(), ChoiceTable().describe());
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

TEST_CASE("measured rules stand between those of the user and the built-in ones") {
  ChoiceTable table;
  table.set("all_reduce:1000=ring", "all_reduce@6:100=halving,all_reduce@7=swing");
  CHECK_EQ(chosen(table, all_reduce_of(1000, 6)), "ring");
  CHECK_EQ(chosen(table, all_reduce_of(999, 6)), "halving");
  CHECK_EQ(chosen(table, all_reduce_of(99, 6)), "mpi");
  CHECK_EQ(chosen(table, all_reduce_of(999, 7)), "swing");
  CHECK_EQ(chosen(table, all_reduce_of(999, 8)), "mpi");
  CHECK_EQ(table.describe()[1], "all_reduce@6:100=halving");
  CHECK_EQ(table.sources()[0], "asked for");
  CHECK_EQ(table.sources()[2], "measured");
  CHECK_EQ(table.sources()[3], "built in");
  CHECK_EQ(table.sources().size(), table.describe().size());
  for (const char* text : {"all@=ring", "all@x=ring", "all@6:=ring", "all:5@6=ring"})
    CHECK_THROWS_AS(table.set("", text), std::invalid_argument);
  CHECK_EQ(table.describe()[1], "all_reduce@6:100=halving");
}

TEST_CASE("a narrow wire goes by a schedule unless the user wants another way") {
  ChoiceTable table;
  Case wanted = all_reduce_of(1 << 20, 4);
  wanted.is_narrow = true;
  CHECK_EQ(chosen(table, wanted), "ring");
  wanted.ranks_per_node = 2;
  CHECK_EQ(chosen(table, wanted), "hierarchical+ring");
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
  Case wanted = all_reduce_of(3 * 16 * 1024, 6);
  wanted.placed = &own;
  ChoiceTable table;
  CHECK_EQ(chosen(table, wanted), "lanes:3x2");
  table.set("all_reduce=ring");
  CHECK_EQ(chosen(table, wanted), "ring");
  table.set("reduce_scatter=ring");
  CHECK_EQ(chosen(table, wanted), "lanes:3x2");
  --wanted.num_bytes;
  CHECK_EQ(chosen(table, wanted), "mpi");

  const std::vector<std::vector<int>> wrong = {{0, 1, 2, 3, 4}, {0, 1, 2, 3, 4, 6}, {0, 1, 2, 3, 4, 4}};
  for (const auto& others : wrong) CHECK_THROWS_AS(Choice::of_lanes("3x2", others, lanes), std::invalid_argument);
  CHECK_THROWS_AS(Choice::of_lanes("3x2", places, {{{0, 1}, {1, 1}, 0.5}}), std::invalid_argument);
  CHECK_THROWS_AS(Choice::of_lanes("3x2", places, {{{0}, {1}, 1.0}}), std::invalid_argument);
  CHECK_THROWS_AS(Choice::of_lanes("3x2", places, {{{1, 0}, {1, 0}, 1.0}}), std::invalid_argument);
  CHECK_THROWS_AS(Choice::of_lanes("3x2", places, {}), std::invalid_argument);
}
