// The collectives and messages of a group, on raw memory. Each returns an operation already submitted to the engine.
//
// Sizes are in elements where a DataType is given and in bytes elsewhere. The memory must stay valid until the
// operation is done; `Call::keep` holds its owners. Input and output may overlap in any way.
#pragma once

#include <cstdint>
#include <vector>

#include "../core.h"
#include "../types.h"

namespace mfugaku::comm {

// Reductions. float16 and bfloat16 accumulate in float32 and round once.
OperationPtr all_reduce(Group& group, void* data, int64_t count, DataType type, Reduction reduction, const Call& call);
OperationPtr reduce(Group& group, void* data, int64_t count, DataType type, Reduction reduction, int root,
                    const Call& call);
// `pieces[i]` (of counts[i] elements) goes to rank i; `out` receives counts[rank] elements.
OperationPtr reduce_scatter(Group& group, const std::vector<const void*>& pieces, const std::vector<int64_t>& counts,
                            void* out, DataType type, Reduction reduction, const Call& call);

// Moves. Vectors have one entry per rank of the group.
OperationPtr broadcast(Group& group, void* data, int64_t num_bytes, int root, const Call& call);
OperationPtr all_gather(Group& group, const void* data, const std::vector<void*>& outs,
                        const std::vector<int64_t>& num_bytes, const Call& call);
OperationPtr all_to_all(Group& group, std::vector<Parcel> parcels, const Call& call);
OperationPtr gather(Group& group, const void* data, int64_t num_bytes, const std::vector<void*>& outs,
                    const std::vector<int64_t>& out_bytes, int root, const Call& call);  // outs: on the root only
OperationPtr scatter(Group& group, const std::vector<const void*>& pieces, const std::vector<int64_t>& piece_bytes,
                     void* out, int64_t num_bytes, int root, const Call& call);  // pieces: on the root only
OperationPtr barrier(Group& group, const Call& call);
// Returns when all ranks have come. Throws CommFailure: on rank 0 naming the first that has not come within
// `timeout_s`, or all such ranks, on others because rank 0 did not answer. The ranks no longer agree after that.
void monitored_barrier(Group& group, double timeout_s, bool wait_all_ranks);

// Messages. Tags are 0 ... Group::max_user_tag().
OperationPtr send(Group& group, const void* data, int64_t num_bytes, int to, int tag, const Call& call);
OperationPtr receive(Group& group, void* data, int64_t num_bytes, int from, int tag, const Call& call);
OperationPtr receive_any(Group& group, void* data, int64_t num_bytes, int tag, const Call& call);

}  // namespace mfugaku::comm
