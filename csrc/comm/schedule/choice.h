// Which algorithm carries a collective of a group that does not share memory: the first rule that fits decides, and
// where none does, a model of what each algorithm takes (cost.h). All ranks of a group must have the same of both.
//
// MFUGAKU_COMM_ALGORITHM puts rules before all others, separated by commas: "COLLECTIVE=ALGORITHM", or
// "COLLECTIVE:BYTES=ALGORITHM" for vectors of so many bytes and more, or "COLLECTIVE@RANKS..." for groups of so many
// ranks. Rules that `mfugaku comm tune` has measured come next; it also measures the model's costs. COLLECTIVE is
// all_reduce, reduce_scatter, all_gather or all; ALGORITHM is mpi, pieces, ring, doubling, halving, swing, or
// lanes:SHAPE or swing:SHAPE with the shape of a torus as in lanes:24x12l, which fits groups of as many ranks. A schedule
// behind hierarchical+ or hierarchical:RANKS+ goes between nodes, for groups with as many ranks in a row on each of
// several nodes: those that are found there, or RANKS of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "algorithms.h"
#include "cost.h"

namespace mfugaku::comm::schedule {

enum class Algorithm : uint8_t {
  Mpi,      // the MPI's own collective; float16 and bfloat16 travel as float32
  Pieces,   // everybody sends everybody a piece
  Ring, Doubling, Halving, Swing, Lanes,  // schedules
};

class Choice;

// A collective to be carried out. `num_bytes` is that of the vector of all blocks; `mpi_can` is false where the MPI has
// no collective for it: halves and uneven or very long blocks in reduce-scatter, the latter in all-gather.
struct Case {
  Collective collective;
  int64_t num_bytes;
  int num_ranks;
  bool is_half;
  bool mpi_can;
  int ranks_per_node = 1;  // in a row, alike on all nodes; 1 where they are not
  bool is_narrow = false;  // messages of a schedule would carry halves in place of float32 (wire.h)
  const Choice* placed = nullptr;  // the lanes of the group's own torus, if it is known to stand on one
};

// Throws std::invalid_argument.
Collective collective_named(const std::string& name);

// A node of Fugaku sends through at most so many of its links at full speed at a time (Tofu interconnect D).
constexpr int kNetworkInterfaces = 6;

// From a rank to all others along a torus, one dimension after the other.
int64_t num_rounds_on(const Torus& torus);
// In how many segments a vector of so many bytes goes through the lanes of a torus.
int num_segments_for(int64_t num_bytes, const Torus& torus, int num_lanes);
// By how many lanes of swing a vector of so many bytes goes.
int num_swing_lanes_for(int64_t num_bytes, const Torus& torus);

class Choice {
 public:
  Algorithm algorithm = Algorithm::Pieces;
  bool is_schedule() const { return algorithm != Algorithm::Mpi && algorithm != Algorithm::Pieces; }
  // The schedule of one rank, for a choice that is one; elements have `element_bytes`.
  // `ranks_of_group`: how many it has on each node.
  Schedule build(const Task& task, int64_t element_bytes, int ranks_of_group = 1) const;
  std::string name() const;
  // What name() writes. Throws std::invalid_argument; `rule` is what it stands in.
  static Choice parse(std::string algorithm, const std::string& rule);
  // Whether its messages can carry less than they stand for: where each element is summed up by one rank.
  bool may_be_narrow() const { return is_schedule() && algorithm != Algorithm::Doubling; }
  // Whether it can carry out a case at all.
  bool can(const Case& wanted) const;

  // Where `algorithm` goes between nodes of several ranks: so many, or 0 for those of the group.
  bool is_hierarchical = false;
  int ranks_per_node = 0;

  // Of lanes, and of swing with a shape.
  struct TorusPlan {
    std::string shape;
    Torus torus;
    std::vector<Lane> lanes;
  };
  std::shared_ptr<const TorusPlan> plan;

  // The lanes of a group whose rank r stands at places[r] of a torus. Throws std::invalid_argument when the places or
  // the lanes do not belong to the torus.
  static Choice of_lanes(const std::string& shape, std::vector<int> places, std::vector<Lane> lanes);

 private:
  Schedule build_flat(const Task& task, int64_t num_bytes) const;
};

class ChoiceTable {
 public:
  // The one of this process.
  static ChoiceTable& instance();

  ChoiceTable();
  // The rules of a text, and those that were measured. Throws std::invalid_argument and changes nothing.
  void set(const std::string& text, const std::string& measured = "");
  // In place of the built-in ones.
  void set_costs(const Costs& costs) { costs_ = costs; }
  Costs costs_for(const Case& wanted) const {
    return costs_.value_or(wanted.placed != nullptr ? Costs::of_torus() : Costs::built_in());
  }
  const Choice& choose(const Case& wanted) const;
  // The algorithms that can carry out a case, and the seconds that the model expects of each; the first expects least.
  std::vector<std::pair<const Choice*, double>> expect(const Case& wanted) const;
  // One line per rule, in their order, and where they come from.
  std::vector<std::string> describe() const;
  std::vector<std::string> sources() const;

 private:
  struct Rule {
    bool is_for_all;
    Collective collective;
    int64_t min_bytes = 0;
    Choice choice;
    int num_ranks = 0;  // 0: any number
    const char* source = "";
    bool fits(const Case& wanted) const;
    std::string describe() const;
  };
  static Rule parse(const std::string& text);
  // `take(choice, seconds)` for each algorithm that can carry out a case.
  template <typename Take> void weigh(const Case& wanted, const Take& take) const;

  std::vector<Rule> rules_;
  std::vector<Choice> candidates_;  // of the model, beside the lanes of a group's own torus
  std::optional<Costs> costs_;  // that were measured
};

}  // namespace mfugaku::comm::schedule
