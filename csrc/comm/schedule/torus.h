// A torus of ranks, and the lanes on it that share a collective among all its links.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace mfugaku::comm::schedule {

struct Dimension {
  int length;
  // Whether its two ends are linked. Without that, a ring goes back over all the links of the other direction; with
  // length 2 there is one link only. Both leave one direction to go round.
  bool is_ring = true;
  int num_directions() const { return is_ring && length > 2 ? 2 : 1; }
};

// Rank r stands at place r, or at places[r]; a place has coordinates of mixed radix, the first dimension running
// fastest. Dimensions of length 1 may occur.
class Torus {
 public:
  explicit Torus(std::vector<Dimension> dimensions) : dimensions_(std::move(dimensions)) {}
  // The same with the ranks elsewhere on it. Throws std::invalid_argument unless every place is taken once.
  Torus with_places(std::vector<int> places) const;
  // "24x12l": two dimensions, of which the second is a line. Throws std::invalid_argument.
  static Torus parse(const std::string& text);
  static Torus ring(int size) { return Torus({Dimension{size, true}}); }

  const std::vector<Dimension>& dimensions() const { return dimensions_; }
  int num_dimensions() const { return static_cast<int>(dimensions_.size()); }
  int length(int d) const { return dimensions_[static_cast<size_t>(d)].length; }
  int size() const;
  int coordinate(int rank, int d) const;
  // The rank at coordinate `c` of dimension d (modulo its length), where `rank` is in the others.
  int moved(int rank, int d, int c) const;
  // Directions of links that a rank has.
  int num_ports() const;

 private:
  int stride(int d) const;
  int place_of(int rank) const { return places_.empty() ? rank : places_[static_cast<size_t>(rank)]; }
  std::vector<Dimension> dimensions_;
  std::vector<int> places_, ranks_;  // of each rank, at each place; empty: the same numbers
};

// One way through the torus: the dimensions of more than one rank in the order in which a reduce-scatter takes them,
// the direction in each, +1 or -1, and the share of the vector that goes this way.
struct Lane {
  std::vector<int> order, directions;
  double weight;
};

// Lanes and weights that make the largest load of a link smallest, where a rank sends through at most `max_ports`
// links at full speed at a time (the six network interfaces of a Fugaku node). Exact, by linear programming.
std::vector<Lane> weigh_lanes(const Torus& torus, int max_ports);

// Time of an all-reduce by these lanes over time of sending the vector once through one link, latencies aside; and the
// least possible: 2 (p - 1) / p / min(ports, max_ports). Half of each for a reduce-scatter or an all-gather.
double load_of(const Torus& torus, const std::vector<Lane>& lanes, int max_ports);
double least_load_of(const Torus& torus, int max_ports);

}  // namespace mfugaku::comm::schedule
