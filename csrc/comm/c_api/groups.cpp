// mfugaku_comm.h: groups.
#include <algorithm>

#include "../collectives/scheduled.h"
#include "guarded.h"
#include "members.h"

using namespace mfugaku::comm;

namespace {

mfugaku_comm_group* new_group(Members members, const char* name) {
  const int rank = members.rank, size = static_cast<int>(members.world_ranks.size());
  // Before the members meet: what fails on one of them alone leaves the others waiting.
  auto handle = std::make_unique<mfugaku_comm_group>(mfugaku_comm_group{nullptr, rank, size});
  handle->group = create_group(name, std::move(members.world_ranks), rank, default_timeout_s());
  return handle.release();
}

template <typename Body>
int with(const mfugaku_comm_group* group, const void* out, const Body& body) {
  return guarded([&] {
    require_argument(group != nullptr, "the group is NULL");
    require_argument(out != nullptr, "there is no place for the answer");
    body();
  });
}

}  // namespace

int mfugaku_comm_group_create(int mpi_comm_f, const char* name, mfugaku_comm_group** group) {
  return guarded([&] {
    require_argument(group != nullptr && name != nullptr, "a group needs a name, and a place for its handle");
    *group = nullptr;
    *group = new_group(members_of(mpi_comm_f), name);
  });
}

int mfugaku_comm_group_of_members(const int* world_ranks, int num_ranks, const char* name, mfugaku_comm_group** group) {
  return guarded([&] {
    require_argument(group != nullptr && name != nullptr, "a group needs a name, and a place for its handle");
    require_argument(world_ranks != nullptr && num_ranks > 0, "a group needs members");
    *group = nullptr;
    Members members{{world_ranks, world_ranks + num_ranks}, 0};
    const auto [self, num_processes] = world();
    std::vector<int> sorted = members.world_ranks;
    std::sort(sorted.begin(), sorted.end());
    require_argument(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), "a rank is named twice");
    require_argument(sorted.front() >= 0 && sorted.back() < num_processes, "a rank is not in MPI_COMM_WORLD");
    const auto place = std::find(members.world_ranks.begin(), members.world_ranks.end(), self);
    require_argument(place != members.world_ranks.end(), "this rank is not among the members, who alone may call");
    members.rank = static_cast<int>(place - members.world_ranks.begin());
    *group = new_group(std::move(members), name);
  });
}

int mfugaku_comm_group_free(mfugaku_comm_group** group) {
  return guarded([&] {
    require_argument(group != nullptr, "there is no handle");
    const std::unique_ptr<mfugaku_comm_group> owned(*group);
    *group = nullptr;
    if (owned) shut_down(*owned->group);
  });
}

int mfugaku_comm_group_rank(const mfugaku_comm_group* group, int* rank) {
  return with(group, rank, [&] { *rank = group->rank; });
}

int mfugaku_comm_group_size(const mfugaku_comm_group* group, int* size) {
  return with(group, size, [&] { *size = group->size; });
}

int mfugaku_comm_group_shares_memory(const mfugaku_comm_group* group, int* is_shared) {
  return with(group, is_shared, [&] { *is_shared = shares_memory(*group->group) ? 1 : 0; });
}

int mfugaku_comm_group_set_timeout_s(mfugaku_comm_group* group, double seconds) {
  return guarded([&] {
    require_argument(group != nullptr, "the group is NULL");
    require_argument(seconds > 0, "a timeout is more than 0 seconds");
    set_timeout_s(*group->group, seconds);
  });
}

int mfugaku_comm_group_set_wire(mfugaku_comm_group* group, int type) {
  return guarded([&] {
    require_argument(group != nullptr, "the group is NULL");
    require_argument(type == MFUGAKU_COMM_FLOAT32 || type == MFUGAKU_COMM_FLOAT16 || type == MFUGAKU_COMM_BFLOAT16,
                     "vectors travel as float32, float16 or bfloat16");
    set_wire(*group->group, static_cast<DataType>(type));
  });
}

int mfugaku_comm_group_goes_by_mpi(const mfugaku_comm_group* group, int collective, int64_t num_bytes, int type,
                                   int* goes_by) {
  return with(group, goes_by, [&] {
    require_argument(collective >= MFUGAKU_COMM_ALL_REDUCE && collective <= MFUGAKU_COMM_ALL_GATHER,
                     "the collective is none of those that have a choice");
    *goes_by = goes_by_mpi(*group->group, static_cast<schedule::Collective>(collective), num_bytes, type_of(type));
  });
}
