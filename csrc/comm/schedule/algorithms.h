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

// Lanes on a torus: see lanes.cpp.
Schedule torus_lanes(const Task& task, const Torus& torus, const std::vector<Lane>& lanes, int num_segments);

}  // namespace mfugaku::comm::schedule
