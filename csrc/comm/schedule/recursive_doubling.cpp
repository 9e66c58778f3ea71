#include <memory>
#include <stdexcept>

#include "algorithms.h"

namespace mfugaku::comm::schedule {
namespace {

// The ranks that exchange are a power of two; the `num_folded` odd ranks among the first 2 * num_folded do not.
struct Exchange {
  int size, num_exchanging = 1, num_folded;

  explicit Exchange(int size) : size(size) {
    while (2 * num_exchanging <= size) num_exchanging *= 2;
    num_folded = size - num_exchanging;
  }
  bool is_folded(int rank) const { return rank < 2 * num_folded && rank % 2 == 1; }
  int number_of(int rank) const { return rank < 2 * num_folded ? rank / 2 : rank - num_folded; }
  int rank_of(int number) const { return number < num_folded ? 2 * number : number + num_folded; }
  bool has_neighbour_folded_in(int number) const { return number < num_folded; }
};

Strand build(const Exchange& exchange, int rank, int64_t count) {
  constexpr Place input{Buffer::Input, 0}, output{Buffer::Output, 0};
  constexpr Place raw{Buffer::Elements, 0}, sum{Buffer::Partials, 0};
  const Place landing{Buffer::Partials, count};
  Strand strand;
  strand.begin_round();
  if (exchange.size == 1) {
    strand.copy(output, input, count);
    return strand;
  }
  if (exchange.is_folded(rank)) {
    strand.send(rank - 1, input, count);
    strand.begin_round();
    strand.receive(rank - 1, output, count);
    return strand;
  }
  const int self = exchange.number_of(rank);
  const bool has_folded = exchange.has_neighbour_folded_in(self);
  if (has_folded) {
    strand.receive(rank + 1, raw, count);
    strand.reduce(sum, input, raw, count);
  }
  for (int distance = 1; distance < exchange.num_exchanging; distance *= 2) {
    const int other = self ^ distance, peer = exchange.rank_of(other);
    const Place own = distance > 1 || has_folded ? sum : input;
    const Place theirs = distance > 1 || exchange.has_neighbour_folded_in(other) ? landing : raw;
    strand.begin_round();
    strand.receive(peer, theirs, count);
    strand.send(peer, own, count);
    const Place out = 2 * distance == exchange.num_exchanging ? output : sum;
    if (self < other)
      strand.reduce(out, own, theirs, count);
    else
      strand.reduce(out, theirs, own, count);
  }
  if (has_folded) {
    strand.begin_round();
    strand.send(rank + 1, output, count);
  }
  return strand;
}

}  // namespace

Schedule recursive_doubling(const Task& task) {
  if (task.collective != Collective::AllReduce)
    throw std::invalid_argument("recursive doubling is an algorithm for all-reduce alone");
  const int64_t count = begins_of(task.counts).back();
  const Exchange exchange(task.size());
  Schedule schedule;
  schedule.num_scratch_elements = count;
  schedule.num_scratch_partials = 2 * count;
  schedule.build_strand = [exchange, rank = task.rank, count](int) { return build(exchange, rank, count); };
  return schedule;
}

}  // namespace mfugaku::comm::schedule
