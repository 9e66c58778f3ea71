// Which algorithm carries a collective of a group that does not share memory: a table of rules, of which the first
// that fits decides. All ranks of a group must have the same table.
//
// A group that is known to stand on a torus of its own takes its lanes there for vectors long enough; of the rules, only
// given ones come before that.
//
// MFUGAKU_COMM_ALGORITHM puts rules before the built-in ones, separated by commas: "COLLECTIVE=ALGORITHM", or
// "COLLECTIVE:BYTES=ALGORITHM" for vectors of so many bytes and more. COLLECTIVE is all_reduce, reduce_scatter,
// all_gather or all; ALGORITHM is mpi, pieces, ring, doubling, halving or lanes:SHAPE with the shape of a torus as in
// lanes:24x12l, which fits groups of as many ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "algorithms.h"

namespace mfugaku::comm::schedule {

enum class Algorithm : uint8_t {
  Mpi,      // the MPI's own collective; float16 and bfloat16 travel as float32
  Pieces,   // everybody sends everybody a piece
  Ring, Doubling, Halving, Lanes,  // schedules
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
  const Choice* placed = nullptr;  // the lanes of the group's own torus, if it is known to stand on one
};

// In how many segments a vector of so many bytes goes through the lanes of a torus.
int num_segments_for(int64_t num_bytes, const Torus& torus, int num_lanes);

class Choice {
 public:
  Algorithm algorithm = Algorithm::Pieces;
  bool is_schedule() const { return algorithm != Algorithm::Mpi && algorithm != Algorithm::Pieces; }
  // The schedule of one rank, for a choice that is one; elements have `element_bytes`.
  Schedule build(const Task& task, int64_t element_bytes) const;
  std::string name() const;

  // Of lanes alone.
  struct TorusPlan {
    std::string shape;
    Torus torus;
    std::vector<Lane> lanes;
  };
  std::shared_ptr<const TorusPlan> plan;

  // The lanes of a group whose rank r stands at places[r] of a torus. Throws std::invalid_argument when the places or
  // the lanes do not belong to the torus.
  static Choice of_lanes(const std::string& shape, std::vector<int> places, std::vector<Lane> lanes);
};

class ChoiceTable {
 public:
  // The one of this process.
  static ChoiceTable& instance();

  ChoiceTable() { set(""); }
  // The rules of a text and then the built-in ones. Throws std::invalid_argument and changes nothing.
  void set(const std::string& text);
  const Choice& choose(const Case& wanted) const;
  // One line per rule, in their order.
  std::vector<std::string> describe() const;

 private:
  struct Rule {
    bool is_for_all;
    Collective collective;
    int64_t min_bytes = 0, min_block_bytes = 0;
    int max_ranks = 0;  // 0: any number
    bool halves = true, others = true;
    Choice choice;
    bool fits(const Case& wanted) const;
    std::string describe() const;
  };
  static Rule parse(const std::string& text);
  static std::vector<Rule> built_in();

  std::vector<Rule> rules_;
  size_t num_given_ = 0;  // of the rules
};

}  // namespace mfugaku::comm::schedule
