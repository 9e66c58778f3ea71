// Few rounds over near links, on tori of any shape and for any number of ranks.
//
// Gathering goes along one dimension at a time, far distances first, so that what is long travels near. Along a
// dimension of even length a rank exchanges with its partner at distance 1, 1, 3, 5, 11, ..., even coordinates in one
// direction and odd ones in the other: D. De Sensi et al., "Swing: Short-cutting Rings for Higher Bandwidth Allreduce",
// NSDI 2024, arXiv:2401.09356. Along one of odd length, where neighbours cannot be paired all around, everybody sends
// the same way at distances 1, -2, 4, -8, ...; sums of these reach every coordinate too. Either takes ceil(log2 length)
// rounds. Blocks that the receiver has are left out, so no rank receives more than it must for any number of ranks.
//
// What a rank knows after some rounds is, seen from where it stands, the same for all: one set of distances for each
// dimension. Reducing goes through the same rounds backwards, with sums in place of copies: a block comes to its rank
// along the tree through which it would leave it.
//
// Lanes share the vector: they begin with different dimensions and, mirrored, in the other direction, and so use the
// links of all of them at the same time. The blocks of an all-reduce are laid out so that a message is one range
// wherever the lengths are powers of two; elsewhere, parts of a message are first copied next to each other.
#include <algorithm>
#include <memory>
#include <stdexcept>
#include <utility>

#include "algorithms.h"

namespace mfugaku::comm::schedule {
namespace {

int modulo(int a, int n) { return (a % n + n) % n; }

// The rounds along one dimension, in the order of gathering. Distances count forwards from even coordinates and, where
// the length is even, backwards from odd ones.
class Axis {
 public:
  Axis(int length, bool is_mirrored) : length_(length), known_(1, Set(static_cast<size_t>(length))) {
    known_[0][0] = true;
    int num_rounds = 0;
    while ((int64_t{1} << num_rounds) < length) ++num_rounds;
    for (int i = num_rounds; i-- > 0;) {
      const int64_t power = (i % 2 == 0 ? 1 : -1) * (int64_t{1} << i);  // (-2)^i
      const auto distance = static_cast<int>(is_paired() ? (1 + 2 * power) / 3 : power);
      distances_.push_back(modulo(is_mirrored ? -distance : distance, length));
      known_.push_back(known_.back());
      for (int there = 0; there < length; ++there)
        if (known_[known_.size() - 2][static_cast<size_t>(there)])
          known_.back()[static_cast<size_t>(seen_by_receiver(distances_.back(), there))] = true;
    }
  }

  int num_rounds() const { return static_cast<int>(distances_.size()); }
  bool knows(int round, int distance) const {
    return known_[static_cast<size_t>(round)][static_cast<size_t>(distance)];
  }
  // Where the block at `distance` from a sender of this round stands for the receiver, and the other way round.
  int to_receiver(int round, int distance) const { return seen_by_receiver(distance_of(round), distance); }
  int to_sender(int round, int distance) const {
    return modulo(is_paired() ? distance_of(round) - distance : distance - distance_of(round), length_);
  }
  // Whom a coordinate receives from and sends to.
  int source(int round, int coordinate) const { return at(coordinate, distance_of(round)); }
  int target(int round, int coordinate) const {
    return is_paired() ? source(round, coordinate) : modulo(coordinate - distance_of(round), length_);
  }
  int at(int coordinate, int distance) const {
    return modulo(is_paired() && coordinate % 2 == 1 ? coordinate - distance : coordinate + distance, length_);
  }

 private:
  using Set = std::vector<bool>;
  bool is_paired() const { return length_ % 2 == 0; }
  int distance_of(int round) const { return distances_[static_cast<size_t>(round)]; }
  int seen_by_receiver(int d, int there) const { return modulo(is_paired() ? d - there : d + there, length_); }

  int length_;
  std::vector<int> distances_;
  std::vector<Set> known_;  // by rounds that are over
};

// A block that travels: distances from its two ends, one for each dimension, written like a rank.
struct Item {
  int from_sender, from_receiver;
};

struct Step {
  size_t dimension;
  int round;                // of its axis
  std::vector<Item> items;  // what everybody sends, seen from itself and from whom it sends to
};

// All steps of one lane, in the order of gathering.
class Route {
 public:
  Route(const Torus& torus, int lane) : torus_(torus) {
    std::vector<size_t> dimensions;
    for (int d = 0; d < torus.num_dimensions(); ++d) {
      axes_.emplace_back(torus.length(d), lane % 2 == 1);
      if (torus.length(d) > 1) dimensions.push_back(static_cast<size_t>(d));
    }
    std::rotate(dimensions.begin(),
                dimensions.begin() + (dimensions.empty() ? 0 : lane / 2 % static_cast<int>(dimensions.size())),
                dimensions.end());
    // Reducing takes the dimensions in turn, so gathering does it in the opposite order.
    std::vector<std::pair<size_t, int>> reducing;
    for (int i = 0; i < 32; ++i)
      for (const size_t d : dimensions)
        if (i < axes_[d].num_rounds()) reducing.push_back({d, axes_[d].num_rounds() - 1 - i});
    std::vector<int> known{0};  // distances of blocks, in the order in which they come
    for (auto step = reducing.rbegin(); step != reducing.rend(); ++step) {
      const auto [d, round] = *step;
      const Axis& axis = axes_[d];
      const size_t num_known = known.size();
      Step next{d, round, {}};
      for (size_t i = 0; i < num_known; ++i) {
        const int along = torus.coordinate(known[i], static_cast<int>(d));
        const int seen = axis.to_receiver(round, along);
        if (axis.knows(round, seen)) continue;
        const int from_receiver = torus.moved(known[i], static_cast<int>(d), seen);
        next.items.push_back({known[i], from_receiver});
        known.push_back(from_receiver);
      }
      steps_.push_back(std::move(next));
    }
    order_ = std::move(known);
  }

  const std::vector<Step>& steps() const { return steps_; }
  // Distances of all blocks from a rank, in the order in which it gathers them.
  const std::vector<int>& order() const { return order_; }
  int block_at(int rank, int distance) const {
    int block = rank;
    for (int d = 0; d < torus_.num_dimensions(); ++d)
      block = torus_.moved(block, d, axes_[static_cast<size_t>(d)].at(torus_.coordinate(rank, d),
                                                                      torus_.coordinate(distance, d)));
    return block;
  }
  int source(const Step& step, int rank) const {
    const int d = static_cast<int>(step.dimension);
    return torus_.moved(rank, d, axes_[step.dimension].source(step.round, torus_.coordinate(rank, d)));
  }
  int target(const Step& step, int rank) const {
    const int d = static_cast<int>(step.dimension);
    return torus_.moved(rank, d, axes_[step.dimension].target(step.round, torus_.coordinate(rank, d)));
  }

 private:
  Torus torus_;
  std::vector<Axis> axes_;
  std::vector<Step> steps_;
  std::vector<int> order_;
};

class Builder {
 public:
  Builder(const Task& task, const Torus& torus, int lane, int num_lanes, int64_t scratch_per_lane)
      : task_(task),
        begins_(begins_of(task.counts)),
        route_(torus, lane),
        lane_(lane),
        num_lanes_(num_lanes),
        position_(static_cast<size_t>(task.size())),
        packed_{Buffer::Elements, 2 * lane * scratch_per_lane},
        landing_(packed_ + scratch_per_lane),
        sums_{Buffer::Partials, 3 * lane * scratch_per_lane},
        packed_sums_(sums_ + scratch_per_lane),
        landing_sums_(packed_sums_ + scratch_per_lane) {
    for (int i = 0; i < size(); ++i)
      position_[static_cast<size_t>(is_all_reduce() ? route_.block_at(0, route_.order()[static_cast<size_t>(i)]) : i)] =
          i;
    offsets_.push_back(0);
    for (int i = 0; i < size(); ++i) offsets_.push_back(offsets_.back() + share_end(i) - share_begin(i));
  }

  Strand build() {
    strand_.begin_round();
    if (size() == 1 || task_.collective == Collective::AllGather)
      strand_.copy(output(piece_of(task_.rank)), {Buffer::Input, input_begin()}, piece_of(task_.rank).count);
    if (size() > 1 && task_.collective != Collective::AllGather) reduce_and_scatter();
    if (size() > 1 && task_.collective != Collective::ReduceScatter) gather();
    return std::move(strand_);
  }

 private:
  // A part of the vector, and where its sums stand in this lane's scratch.
  struct Piece {
    int position;
    int64_t in_vector, in_scratch, count;
    bool is_sum, is_other_sum;
    bool goes_on_with(const Piece& next, bool in_scratch_only) const {
      return is_sum == next.is_sum && is_other_sum == next.is_other_sum &&
             in_scratch + count == next.in_scratch && (in_scratch_only || in_vector + count == next.in_vector);
    }
  };
  using Pieces = std::vector<Piece>;

  int size() const { return task_.size(); }
  bool is_all_reduce() const { return task_.collective == Collective::AllReduce; }

  // Of the block at a position, what belongs to this lane.
  int64_t share_begin(int position) const {
    if (is_all_reduce()) return lane_begin() + cut(lane_end() - lane_begin(), size(), position);
    const auto block = static_cast<size_t>(position);
    return begins_[block] + cut(task_.counts[block], num_lanes_, lane_);
  }
  int64_t share_end(int position) const {
    if (is_all_reduce()) return lane_begin() + cut(lane_end() - lane_begin(), size(), position + 1);
    const auto block = static_cast<size_t>(position);
    return begins_[block] + cut(task_.counts[block], num_lanes_, lane_ + 1);
  }
  int64_t lane_begin() const { return cut(begins_.back(), num_lanes_, lane_); }
  int64_t lane_end() const { return cut(begins_.back(), num_lanes_, lane_ + 1); }

  Piece piece_of(int block, bool is_sum = false, bool is_other_sum = false) const {
    const int position = position_[static_cast<size_t>(block)];
    const int64_t begin = share_begin(position);
    return {position, begin, offsets_[static_cast<size_t>(position)], share_end(position) - begin, is_sum,
            is_other_sum};
  }
  // Where the own block begins in a vector that is all of it, as the input of an all-gather is.
  int64_t own_begin() const { return begins_[static_cast<size_t>(task_.rank)]; }
  int64_t input_begin() const {
    const Piece own = piece_of(task_.rank);
    return task_.collective == Collective::AllGather ? own.in_vector - own_begin() : own.in_vector;
  }
  Place output(const Piece& piece) const {
    return {Buffer::Output, task_.collective == Collective::ReduceScatter ? piece.in_vector - own_begin()
                                                                          : piece.in_vector};
  }
  Place own(const Piece& piece) const {
    return piece.is_sum ? sums_ + piece.in_scratch : Place{Buffer::Input, piece.in_vector};
  }

  // In the order of their positions, neighbours as one.
  static Pieces joined(Pieces pieces, bool in_scratch_only) {
    std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.position < b.position; });
    Pieces result;
    for (const Piece& piece : pieces) {
      if (piece.count == 0) continue;
      if (!result.empty() && result.back().goes_on_with(piece, in_scratch_only))
        result.back().count += piece.count;
      else
        result.push_back(piece);
    }
    return result;
  }
  static int64_t count_of(const Pieces& pieces) {
    int64_t count = 0;
    for (const Piece& piece : pieces) count += piece.count;
    return count;
  }
  static Pieces those_that(Pieces pieces, bool are_sums) {
    pieces.erase(std::remove_if(pieces.begin(), pieces.end(),
                                [=](const Piece& piece) { return piece.is_sum != are_sums; }), pieces.end());
    return pieces;
  }

  // Where pieces lie as one range: where they stand, or copied there at the end of the present round.
  template <typename Where> Place one_range(const Pieces& pieces, Place room, Where where) {
    if (pieces.size() == 1) return where(pieces[0]);
    for (const Piece& piece : pieces) {
      strand_.copy(room, where(piece), piece.count);
      room = room + piece.count;
    }
    return room + -count_of(pieces);
  }

  void reduce_and_scatter() {
    std::vector<bool> is_sum(static_cast<size_t>(size()), false);  // by distance of the block
    for (auto step = route_.steps().rbegin(); step != route_.steps().rend(); ++step) {
      const int to = route_.source(*step, task_.rank), from = route_.target(*step, task_.rank);
      Pieces outgoing, incoming;
      for (const Item& item : step->items) {
        const bool at_sender = is_sum[static_cast<size_t>(item.from_receiver)];
        const bool at_receiver = is_sum[static_cast<size_t>(item.from_sender)];
        outgoing.push_back(piece_of(route_.block_at(task_.rank, item.from_receiver), at_sender));
        incoming.push_back(piece_of(route_.block_at(task_.rank, item.from_sender), at_receiver, at_sender));
      }
      const auto where = [this](const Piece& piece) { return own(piece); };
      const Pieces bare = joined(those_that(outgoing, false), false), summed = joined(those_that(outgoing, true), true);
      const Place bare_range = one_range(bare, packed_, where), sum_range = one_range(summed, packed_sums_, where);
      strand_.begin_round();
      incoming = joined(std::move(incoming), false);
      int64_t num_bare = 0, num_summed = 0;
      for (const Piece& piece : incoming) (piece.is_other_sum ? num_summed : num_bare) += piece.count;
      strand_.receive(from, landing_, num_bare);
      strand_.receive(from, landing_sums_, num_summed);
      strand_.send(to, bare_range, count_of(bare));
      strand_.send(to, sum_range, count_of(summed));
      Place bare_landing = landing_, sum_landing = landing_sums_;
      for (const Piece& piece : incoming) {
        Place& arrived = piece.is_other_sum ? sum_landing : bare_landing;
        const bool is_last = step + 1 == route_.steps().rend();
        strand_.reduce(is_last ? output(piece) : sums_ + piece.in_scratch, arrived, own(piece), piece.count);
        arrived = arrived + piece.count;
      }
      for (const Item& item : step->items) is_sum[static_cast<size_t>(item.from_sender)] = true;
    }
  }

  void gather() {
    const auto where = [this](const Piece& piece) { return output(piece); };
    for (const Step& step : route_.steps()) {
      const int to = route_.target(step, task_.rank), from = route_.source(step, task_.rank);
      Pieces outgoing, incoming;
      for (const Item& item : step.items) {
        outgoing.push_back(piece_of(route_.block_at(task_.rank, item.from_sender)));
        incoming.push_back(piece_of(route_.block_at(task_.rank, item.from_receiver)));
      }
      outgoing = joined(std::move(outgoing), false);
      incoming = joined(std::move(incoming), false);
      const Place range = one_range(outgoing, packed_, where);
      const bool is_direct = incoming.size() == 1;
      strand_.begin_round();
      strand_.receive(from, is_direct ? output(incoming[0]) : landing_, count_of(incoming));
      strand_.send(to, range, count_of(outgoing));
      Place arrived = landing_;
      for (const Piece& piece : incoming) {
        if (!is_direct) strand_.copy(output(piece), arrived, piece.count);
        arrived = arrived + piece.count;
      }
    }
  }

  const Task& task_;
  std::vector<int64_t> begins_;
  Route route_;
  int lane_, num_lanes_;
  std::vector<int> position_;      // of blocks, in the lane's share of the vector
  std::vector<int64_t> offsets_;   // of positions, in the lane's scratch
  Place packed_, landing_, sums_, packed_sums_, landing_sums_;
  Strand strand_;
};

}  // namespace

int most_swing_lanes(const Torus& torus) {
  int lanes = 0;
  for (const Dimension& dimension : torus.dimensions())
    if (dimension.length > 1) lanes += 2;
  return std::max(lanes, 1);
}

Schedule swing(const Task& task, const Torus& torus, int num_lanes) {
  if (torus.size() != task.size() || num_lanes < 1 || num_lanes > most_swing_lanes(torus))
    throw std::invalid_argument("a torus of " + std::to_string(torus.size()) + " ranks with " +
                                std::to_string(num_lanes) + " lanes for a group of " + std::to_string(task.size()) +
                                " ranks");
  int64_t scratch = 0;  // most elements of a lane
  for (const int64_t count : task.counts) scratch += (count + num_lanes - 1) / num_lanes;
  scratch = task.collective == Collective::AllReduce ? begins_of(task.counts).back() / num_lanes + 1 : scratch;
  Schedule schedule;
  schedule.num_strands = schedule.window = schedule.stride = num_lanes;
  if (task.size() > 1) schedule.num_scratch_elements = 2 * num_lanes * scratch;
  if (task.size() > 1 && task.collective != Collective::AllGather)
    schedule.num_scratch_partials = 3 * num_lanes * scratch;
  schedule.build_strand = [=](int lane) { return Builder(task, torus, lane, num_lanes, scratch).build(); };
  return schedule;
}

}  // namespace mfugaku::comm::schedule
