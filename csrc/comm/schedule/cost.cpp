#include "cost.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "choice.h"

namespace mfugaku::comm::schedule {
namespace {

// When more ranks than this send to everybody at a time, the network is taken to have no room for them: bytes of pieces
// then cost more in proportion. 64 is where exchanges in pieces were given up before there was a model; not measured.
constexpr double kMaxRanksAtOnce = 64;

struct Terms {
  double rounds = 0, messages = 0, bytes = 0, summed_bytes = 0;
};

double rounds_to_reach_all(int num_ranks) { return std::ceil(std::log2(static_cast<double>(num_ranks))); }

// Of the vector, what stands in the blocks of the other ranks.
double share_of_others(int num_ranks) { return static_cast<double>(num_ranks - 1) / num_ranks; }

// One way through the ranks: a reduce-scatter, which sums up what it receives, or an all-gather.
Terms way_of(double rounds, double messages_per_round, double bytes, bool is_sum) {
  return {rounds, rounds * messages_per_round, bytes, is_sum ? bytes : 0};
}

Terms terms_of_way(const Choice& choice, int num_ranks, double num_bytes, bool is_sum) {
  const double bytes = num_bytes * share_of_others(num_ranks);
  const double log_rounds = rounds_to_reach_all(num_ranks);
  switch (choice.algorithm) {
    case Algorithm::Pieces: {
      Terms terms = way_of(1, 2.0 * (num_ranks - 1), bytes, is_sum);
      terms.bytes *= std::max(1.0, num_ranks / kMaxRanksAtOnce);
      return terms;
    }
    case Algorithm::Ring: {
      const int num_directions = num_ranks > 2 ? 2 : 1;
      const int num_segments =
          num_segments_for(static_cast<int64_t>(num_bytes), Torus::ring(num_ranks), num_directions);
      return way_of(num_ranks - 1, 2.0 * num_directions * num_segments, bytes, is_sum);
    }
    case Algorithm::Halving: return way_of(log_rounds, 2, bytes, is_sum);
    case Algorithm::Swing: {
      const Torus torus = choice.plan ? choice.plan->torus : Torus::ring(num_ranks);
      double rounds = 0;
      for (const Dimension& dimension : torus.dimensions())
        if (dimension.length > 1) rounds += rounds_to_reach_all(dimension.length);
      const int num_lanes = num_swing_lanes_for(static_cast<int64_t>(num_bytes), torus);
      Terms terms = way_of(rounds, 2.0 * num_lanes, bytes, is_sum);
      if (choice.plan) terms.bytes /= num_lanes;  // lanes that begin in other dimensions use other links
      return terms;
    }
    case Algorithm::Lanes: {
      const Torus& torus = choice.plan->torus;
      const auto num_lanes = static_cast<int>(choice.plan->lanes.size());
      const int num_segments = num_segments_for(static_cast<int64_t>(num_bytes), torus, num_lanes);
      Terms terms = way_of(static_cast<double>(num_rounds_on(torus)), 2.0 * num_lanes * num_segments, bytes, is_sum);
      terms.bytes /= std::min(num_lanes, kNetworkInterfaces);
      return terms;
    }
    case Algorithm::Mpi: return way_of(log_rounds, 0, bytes, is_sum);
    case Algorithm::Doubling: break;
  }
  throw std::logic_error(choice.name() + " has no half");
}

void add(Terms& sum, const Terms& terms) {
  sum.rounds += terms.rounds;
  sum.messages += terms.messages;
  sum.bytes += terms.bytes;
  sum.summed_bytes += terms.summed_bytes;
}

Terms terms_of_flat(const Choice& choice, Collective collective, int num_ranks, double num_bytes) {
  if (choice.algorithm == Algorithm::Doubling) {
    const double powers = std::floor(std::log2(static_cast<double>(num_ranks)));
    const bool is_power = std::exp2(powers) == num_ranks;
    return way_of(powers + (is_power ? 0 : 2), 2, (powers + (is_power ? 0 : 2)) * num_bytes, true);
  }
  Terms terms;
  if (collective != Collective::AllGather) add(terms, terms_of_way(choice, num_ranks, num_bytes, true));
  if (collective != Collective::ReduceScatter) add(terms, terms_of_way(choice, num_ranks, num_bytes, false));
  return terms;
}

}  // namespace

Costs Costs::of(const std::vector<double>& values) {
  const auto is_cost = [](double value) { return std::isfinite(value) && value >= 0; };
  if (values.size() != kNames.size() || !std::all_of(values.begin(), values.end(), is_cost) || values[3] == 0 ||
      values[6] == 0)
    throw std::invalid_argument("costs are 8 numbers of seconds, not negative, and bytes take time. The model could "
                                "not choose by others. Let mfugaku comm tune write them. [MFUGAKU_COMM_TABLE]");
  return {values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7]};
}

std::array<double, Costs::kNumber> terms_of(const Choice& choice, const Case& wanted) {
  const auto num_bytes = static_cast<double>(wanted.num_bytes);
  if (choice.algorithm == Algorithm::Mpi) {
    // Halves are widened before and narrowed after.
    const Terms terms =
        terms_of_flat(choice, wanted.collective, wanted.num_ranks, num_bytes * (wanted.is_half ? 2 : 1));
    return {1, 0, 0, 0, wanted.is_half ? 2 * num_bytes : 0, terms.rounds, terms.bytes, terms.summed_bytes};
  }
  const double on_wire = wanted.is_narrow && choice.may_be_narrow() ? 0.5 : 1;
  Terms terms;
  if (choice.is_hierarchical) {
    const int num_local = choice.ranks_per_node > 0 ? choice.ranks_per_node : wanted.ranks_per_node;
    Choice pieces;
    pieces.algorithm = Algorithm::Pieces;
    add(terms, terms_of_flat(pieces, wanted.collective, num_local, num_bytes));
    add(terms, terms_of_flat(choice, wanted.collective, wanted.num_ranks / num_local, num_bytes / num_local));
  } else {
    terms = terms_of_flat(choice, wanted.collective, wanted.num_ranks, num_bytes);
    // The ranks of a node have one port; of a ring in their order, one of them alone leaves it in each direction. On a
    // torus of known shape they have links of their own.
    const bool leaves_node = wanted.ranks_per_node < wanted.num_ranks;
    if (leaves_node && choice.algorithm != Algorithm::Ring && !choice.plan) terms.bytes *= wanted.ranks_per_node;
  }
  return {1, terms.rounds, terms.messages, terms.bytes * on_wire, terms.summed_bytes, 0, 0, 0};
}

double expected_s(const Choice& choice, const Case& wanted, const Costs& costs) {
  const auto terms = terms_of(choice, wanted);
  const auto values = costs.values();
  double seconds = 0;
  for (size_t i = 0; i < terms.size(); ++i) seconds += terms[i] * values[i];
  return seconds;
}

}  // namespace mfugaku::comm::schedule
