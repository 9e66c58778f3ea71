// mfugaku_comm.h: collectives, messages, and waiting for them.
#include "../collectives/collectives.h"

#include <cstdint>
#include <vector>

#include "guarded.h"

namespace mfugaku::comm {
namespace {

static_assert(static_cast<int>(DataType::Complex128) == MFUGAKU_COMM_COMPLEX128 &&
              static_cast<int>(DataType::Bool) == MFUGAKU_COMM_BOOL &&
              static_cast<int>(DataType::Int8) == MFUGAKU_COMM_INT8 &&
              static_cast<int>(DataType::UInt64) == MFUGAKU_COMM_UINT64 &&
              static_cast<int>(DataType::BFloat16) == MFUGAKU_COMM_BFLOAT16);
static_assert(static_cast<int>(Reduction::BitXor) == MFUGAKU_COMM_BIT_XOR &&
              static_cast<int>(Reduction::Average) == MFUGAKU_COMM_AVERAGE &&
              static_cast<int>(Reduction::Maximum) == MFUGAKU_COMM_MAXIMUM);

Reduction reduction_of(int reduction) {
  require_argument(reduction >= 0 && reduction <= MFUGAKU_COMM_BIT_XOR, "the reduction is none of those there are");
  return static_cast<Reduction>(reduction);
}

void require_memory(const void* memory, int64_t num_bytes) {
  require_argument(num_bytes >= 0, "a length is below 0");
  require_argument(memory != nullptr || num_bytes == 0, "memory is NULL");
}

// The blocks of `num_bytes` each, one after the other, of as many ranks.
template <typename Pointer>
std::vector<Pointer> blocks_of(Pointer memory, int64_t num_bytes, int num_ranks) {
  std::vector<Pointer> blocks;
  for (int rank = 0; rank < num_ranks; ++rank)
    blocks.push_back(reinterpret_cast<Pointer>(reinterpret_cast<uintptr_t>(memory) +
                                               static_cast<uintptr_t>(rank * num_bytes)));
  return blocks;
}

std::vector<int64_t> equal(int64_t value, int num_ranks) {
  return std::vector<int64_t>(static_cast<size_t>(num_ranks), value);
}

void wait_and_forget(mfugaku_comm_work** work) {
  const std::unique_ptr<mfugaku_comm_work> owned(*work);
  *work = nullptr;
  if (owned) wait_for({owned->operation}, 0);
}

// Begins what `body` begins on the group, and waits for it or hands it over.
template <typename Body>
int begin(mfugaku_comm_group* group, mfugaku_comm_work** work, const Body& body) {
  return guarded([&] {
    require_argument(group != nullptr, "the group is NULL");
    if (work == nullptr) return wait_for({body(*group->group, group->size)}, 0);
    *work = nullptr;
    auto handle = std::make_unique<mfugaku_comm_work>();
    handle->operation = body(*group->group, group->size);
    *work = handle.release();
  });
}

void require_root(int root, int size) {
  require_argument(root >= 0 && root < size, "the root is no rank of the group");
}

}  // namespace
}  // namespace mfugaku::comm

using namespace mfugaku::comm;

int mfugaku_comm_all_reduce(mfugaku_comm_group* group, void* data, int64_t count, int type, int reduction,
                            mfugaku_comm_work** work) {
  return begin(group, work, [&](Group& members, int) {
    require_memory(data, count);
    return all_reduce(members, data, count, type_of(type), reduction_of(reduction), {});
  });
}

int mfugaku_comm_reduce(mfugaku_comm_group* group, void* data, int64_t count, int type, int reduction, int root,
                        mfugaku_comm_work** work) {
  return begin(group, work, [&](Group& members, int size) {
    require_memory(data, count);
    require_root(root, size);
    return reduce(members, data, count, type_of(type), reduction_of(reduction), root, {});
  });
}

int mfugaku_comm_reduce_scatter(mfugaku_comm_group* group, const void* in, void* out, int64_t count, int type,
                                int reduction, mfugaku_comm_work** work) {
  return begin(group, work, [&](Group& members, int size) {
    require_memory(in, count);
    require_memory(out, count);
    return reduce_scatter(members, blocks_of(in, count * size_of(type_of(type)), size), equal(count, size), out,
                          type_of(type), reduction_of(reduction), {});
  });
}

int mfugaku_comm_all_gather(mfugaku_comm_group* group, const void* in, void* out, int64_t num_bytes,
                            mfugaku_comm_work** work) {
  return begin(group, work, [&](Group& members, int size) {
    require_memory(in, num_bytes);
    require_memory(out, num_bytes);
    return all_gather(members, in, blocks_of(out, num_bytes, size), equal(num_bytes, size), {});
  });
}

int mfugaku_comm_broadcast(mfugaku_comm_group* group, void* data, int64_t num_bytes, int root,
                           mfugaku_comm_work** work) {
  return begin(group, work, [&](Group& members, int size) {
    require_memory(data, num_bytes);
    require_root(root, size);
    return broadcast(members, data, num_bytes, root, {});
  });
}

int mfugaku_comm_all_to_all(mfugaku_comm_group* group, const void* in, void* out, int64_t num_bytes,
                            mfugaku_comm_work** work) {
  return begin(group, work, [&](Group& members, int size) {
    require_memory(in, num_bytes);
    require_memory(out, num_bytes);
    std::vector<Parcel> parcels;
    for (int64_t i = 0; i < size; ++i)
      parcels.push_back({static_cast<const char*>(in) + i * num_bytes, num_bytes,
                         static_cast<char*>(out) + i * num_bytes, num_bytes});
    return all_to_all(members, std::move(parcels), {});
  });
}

int mfugaku_comm_gather(mfugaku_comm_group* group, const void* in, void* out, int64_t num_bytes, int root,
                        mfugaku_comm_work** work) {
  return begin(group, work, [&](Group& members, int size) {
    require_memory(in, num_bytes);
    require_root(root, size);
    if (group->rank != root) return gather(members, in, num_bytes, {}, {}, root, {});
    require_memory(out, num_bytes);
    return gather(members, in, num_bytes, blocks_of(out, num_bytes, size), equal(num_bytes, size), root, {});
  });
}

int mfugaku_comm_scatter(mfugaku_comm_group* group, const void* in, void* out, int64_t num_bytes, int root,
                         mfugaku_comm_work** work) {
  return begin(group, work, [&](Group& members, int size) {
    require_memory(out, num_bytes);
    require_root(root, size);
    if (group->rank != root) return scatter(members, {}, {}, out, num_bytes, root, {});
    require_memory(in, num_bytes);
    return scatter(members, blocks_of(in, num_bytes, size), equal(num_bytes, size), out, num_bytes, root, {});
  });
}

int mfugaku_comm_barrier(mfugaku_comm_group* group, mfugaku_comm_work** work) {
  return begin(group, work, [](Group& members, int) { return barrier(members, {}); });
}

int mfugaku_comm_send(mfugaku_comm_group* group, const void* data, int64_t num_bytes, int to, int tag,
                      mfugaku_comm_work** work) {
  return begin(group, work, [&](Group& members, int) {
    require_memory(data, num_bytes);
    return send(members, data, num_bytes, to, tag, {});
  });
}

int mfugaku_comm_receive(mfugaku_comm_group* group, void* data, int64_t num_bytes, int from, int tag,
                         mfugaku_comm_work** work) {
  return begin(group, work, [&](Group& members, int) {
    require_memory(data, num_bytes);
    return receive(members, data, num_bytes, from, tag, {});
  });
}

int mfugaku_comm_wait(mfugaku_comm_work** work) {
  return guarded([&] {
    require_argument(work != nullptr, "there is no handle");
    wait_and_forget(work);
  });
}

int mfugaku_comm_wait_all(mfugaku_comm_work** works, int num_works) {
  return guarded([&] {
    require_argument(num_works >= 0 && (works != nullptr || num_works == 0), "there are no handles");
    std::exception_ptr first;  // the others are waited for, too: their handles would be lost
    for (int i = 0; i < num_works; ++i) {
      try {
        wait_and_forget(&works[i]);
      } catch (...) {
        if (!first) first = std::current_exception();
      }
    }
    if (first) std::rethrow_exception(first);
  });
}

int mfugaku_comm_test(mfugaku_comm_work** work, int* is_over) {
  return guarded([&] {
    require_argument(work != nullptr && is_over != nullptr, "there is no handle, or no place for the answer");
    *is_over = 1;
    if (*work == nullptr) return;
    if (!is_done(*(*work)->operation)) drive_all();
    *is_over = is_done(*(*work)->operation) ? 1 : 0;
    if (*is_over != 0) wait_and_forget(work);  // throws its failure
  });
}
