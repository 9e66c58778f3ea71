// The algorithms: each turns a task, as one rank sees it, into that rank's schedule.
#pragma once

#include "schedule.h"
#include "torus.h"

namespace mfugaku::comm::schedule {

// Doubling: everybody exchanges whole vectors with a partner at distance 1, 2, 4, ... For all-reduce alone; fewest
// rounds, for vectors of a few KB. With a number of ranks that is no power of two, the odd ranks among the first fold
// into their neighbours and have the result sent back. Lower ranks stand first in every sum.
Schedule recursive_doubling(const Task& task);

// Halving and doubling for any number of ranks: messages at distances ceil(p/2), ceil(p/4), ..., 1 reduce and scatter
// in ceil(log2 p) rounds, the same distances backwards gather. Every rank sends no more than with a ring. After
// J. L. Träff, "Optimal, non-pipelined reduce-scatter and allreduce algorithms", arXiv:2410.14234.
Schedule recursive_halving(const Task& task);

// Both directions of a ring over all ranks in their order, in `num_segments` that follow each other through it. Block
// b is summed along the ring from the rank behind b around to b itself.
Schedule ring(const Task& task, int num_segments);

// Few rounds with near partners on a torus: see swing.cpp. In ceil(log2 length) rounds along each dimension a rank
// sends no more than with a ring. Every block is summed up along a tree that ends at its rank. `num_lanes` of at most
// most_swing_lanes(torus) share the vector.
Schedule swing(const Task& task, const Torus& torus, int num_lanes);
int most_swing_lanes(const Torus& torus);

// Lanes on a torus: see lanes.cpp.
Schedule torus_lanes(const Task& task, const Torus& torus, const std::vector<Lane>& lanes, int num_segments);

// A schedule between two nodes and more inside a collective of ranks of which `ranks_per_node` in a row stand on each:
// see hierarchical.cpp. `build_inner` makes the schedule of one rank of a group that has one rank of each node; it must
// have strands alike for chunks of somewhat different lengths. Contributions are summed up within the node in the order
// of its ranks, and then as the inner schedule does.
Schedule hierarchical(const Task& task, int ranks_per_node, const std::function<Schedule(const Task&)>& build_inner);

}  // namespace mfugaku::comm::schedule
