// Collectives that move bytes: broadcast, all_gather, all_to_all, gather, scatter, barrier.
#include <algorithm>
#include <cstring>
#include <utility>

#include "../scratch.h"
#include "../shared/collectives.h"
#include "../shared/exchange.h"
#include "collectives.h"
#include "messages.h"
#include "scheduled.h"

namespace mfugaku::comm {
namespace {

// Every rank sends its parcels' pieces and receives their outs. The peers are taken in rotating order, so that they are
// not all asked at once by everybody.
void post_exchange(Operation& operation, const Group& group, const std::vector<Parcel>& parcels) {
  const int size = group.size(), rank = group.rank(), tag = group.tag_of(operation);
  const auto parcel_of = [&](int member) -> const Parcel& { return parcels[static_cast<size_t>(member)]; };
  for (int step = 1; step < size; ++step) {
    const int from = (rank - step + size) % size;
    post_receive(operation, group, parcel_of(from).out, parcel_of(from).out_bytes, from, tag);
  }
  for (int step = 1; step < size; ++step) {
    const int to = (rank + step) % size;
    post_send(operation, group, parcel_of(to).piece, parcel_of(to).piece_bytes, to, tag);
  }
  const Parcel& own = parcel_of(rank);
  if (own.piece_bytes > 0) std::memmove(own.out, own.piece, static_cast<size_t>(own.piece_bytes));
}

}  // namespace

OperationPtr broadcast(Group& group, void* data, int64_t num_bytes, int root, const Call& call) {
  OperationPtr operation = group.new_collective("broadcast", num_bytes, call);
  group.agree(*operation, "broadcast", num_bytes, root, {});
  if (group.channel() && num_bytes > 0)
    operation->poll = shared::broadcast(group.channel(), data, num_bytes, root);
  else if (group.size() > 1)
    operation->stages.push_back([=, &group](Operation& op) {
      const int64_t limit = Engine::instance().max_count();
      for (int64_t begin = 0; begin < num_bytes; begin += limit) {
        MPI_Request request;
        check_mpi(MPI_Ibcast(static_cast<char*>(data) + begin, static_cast<int>(std::min(limit, num_bytes - begin)),
                             MPI_BYTE, root, group.comm(), &request),
                  "MPI_Ibcast");
        op.add_request(request);
      }
    });
  Engine::instance().submit(operation);
  return operation;
}

OperationPtr all_gather(Group& group, const void* data, const std::vector<void*>& outs,
                        const std::vector<int64_t>& num_bytes, const Call& call) {
  const auto self = static_cast<size_t>(group.rank());
  const int64_t own_bytes = num_bytes[self], total_bytes = sum_of(num_bytes);
  OperationPtr operation = group.new_collective("all_gather", total_bytes, call);
  group.agree(*operation, "all_gather", total_bytes, 0, num_bytes);
  const bool is_even = std::all_of(num_bytes.begin(), num_bytes.end(), [&](int64_t n) { return n == own_bytes; });
  bool is_overlapping = false;
  for (size_t i = 0; i < outs.size(); ++i)
    is_overlapping |= (i != self || outs[i] != data) && overlaps(data, own_bytes, outs[i], num_bytes[i]);
  if (is_overlapping) {
    auto copy = Scratch::acquire(own_bytes);
    std::memcpy(copy.get(), data, static_cast<size_t>(own_bytes));
    data = copy.get();
    operation->hold(copy);
  }
  if (group.channel()) {
    if (total_bytes > 0) operation->poll = shared::all_gather(group.channel(), data, outs, num_bytes);
    Engine::instance().submit(operation);
    return operation;
  }
  const bool mpi_can = is_even && own_bytes <= Engine::instance().max_count();
  const schedule::Choice& choice =
      choose(group, schedule::Collective::AllGather, total_bytes, DataType::UInt8, mpi_can);
  if (group.size() == 1 || choice.algorithm == schedule::Algorithm::Pieces) {
    std::vector<Parcel> parcels;
    for (size_t i = 0; i < outs.size(); ++i) parcels.push_back({data, own_bytes, outs[i], num_bytes[i]});
    operation->stages.push_back([parcels, &group](Operation& op) { post_exchange(op, group, parcels); });
  } else if (total_bytes > 0) {
    char* target = static_cast<char*>(outs[0]);
    const bool is_direct = is_one_block(outs, num_bytes);
    if (!is_direct) {
      auto staging = Scratch::acquire(total_bytes);
      target = staging.get();
      operation->hold(staging);
    }
    operation->way = choice.name();
    if (choice.is_schedule()) {
      operation->poll = scheduled_all_gather(group, choice, data, num_bytes, target);
    } else {
      const void* source = is_direct && outs[self] == data ? MPI_IN_PLACE : data;
      const int count = static_cast<int>(own_bytes);
      operation->stages.push_back([=, &group](Operation& op) {
        MPI_Request request;
        check_mpi(MPI_Iallgather(source, count, MPI_BYTE, target, count, MPI_BYTE, group.comm(), &request),
                  "MPI_Iallgather");
        op.add_request(request);
      });
    }
    if (!is_direct)
      operation->stages.push_back([=](Operation&) {
        const char* block = target;
        for (size_t i = 0; i < outs.size(); block += num_bytes[i++])
          if (num_bytes[i] > 0) std::memcpy(outs[i], block, static_cast<size_t>(num_bytes[i]));
      });
  }
  Engine::instance().submit(operation);
  return operation;
}

OperationPtr all_to_all(Group& group, std::vector<Parcel> parcels, const Call& call) {
  const Parcel& own = parcels[static_cast<size_t>(group.rank())];
  if (own.piece_bytes != own.out_bytes)
    throw std::invalid_argument("all_to_all: the piece for this rank itself has " + std::to_string(own.piece_bytes) +
                                " bytes, but the place for it has " + std::to_string(own.out_bytes));
  int64_t num_bytes = 0;
  for (const Parcel& parcel : parcels) num_bytes += parcel.piece_bytes;
  OperationPtr operation = group.new_collective("all_to_all", num_bytes, call);
  group.agree(*operation, "all_to_all", 0, 0, {});  // each pair of ranks has sizes of its own
  for (Parcel& parcel : parcels) {
    const bool is_overlapping = std::any_of(parcels.begin(), parcels.end(), [&](const Parcel& other) {
      return (&parcel != &own || &other != &own || parcel.piece != other.out) &&
             overlaps(parcel.piece, parcel.piece_bytes, other.out, other.out_bytes);
    });
    if (!is_overlapping) continue;
    auto copy = Scratch::acquire(parcel.piece_bytes);
    std::memcpy(copy.get(), parcel.piece, static_cast<size_t>(parcel.piece_bytes));
    parcel.piece = copy.get();
    operation->hold(copy);
  }
  if (group.channel()) {
    if (own.piece_bytes > 0) std::memmove(own.out, own.piece, static_cast<size_t>(own.piece_bytes));
    operation->poll = shared::exchange(group.channel(), make_ticket("all_to_all", 0, 0, {}), std::move(parcels));
  } else {
    operation->stages.push_back(
        [parcels = std::move(parcels), &group](Operation& op) { post_exchange(op, group, parcels); });
  }
  Engine::instance().submit(operation);
  return operation;
}

OperationPtr gather(Group& group, const void* data, int64_t num_bytes, const std::vector<void*>& outs,
                    const std::vector<int64_t>& out_bytes, int root, const Call& call) {
  OperationPtr operation = group.new_collective("gather", num_bytes, call);
  const bool is_root = group.rank() == root;
  if (is_root && num_bytes > 0) std::memmove(outs[static_cast<size_t>(root)], data, static_cast<size_t>(num_bytes));
  if (group.channel()) {
    std::vector<Parcel> parcels(static_cast<size_t>(group.size()));
    parcels[static_cast<size_t>(root)] = {data, num_bytes, nullptr, 0};
    for (size_t from = 0; from < outs.size(); ++from)
      parcels[from].out = outs[from], parcels[from].out_bytes = out_bytes[from];
    operation->poll = shared::exchange(group.channel(), make_ticket("gather", 0, root, {}), std::move(parcels));
  } else {
    operation->stages.push_back([=, &group](Operation& op) {
      const int tag = group.tag_of(op);
      if (!is_root) return post_send(op, group, data, num_bytes, root, tag);
      for (int from = 0; from < group.size(); ++from) {
        const auto i = static_cast<size_t>(from);
        if (from != root) post_receive(op, group, outs[i], out_bytes[i], from, tag);
      }
    });
  }
  Engine::instance().submit(operation);
  return operation;
}

OperationPtr scatter(Group& group, const std::vector<const void*>& pieces, const std::vector<int64_t>& piece_bytes,
                     void* out, int64_t num_bytes, int root, const Call& call) {
  OperationPtr operation = group.new_collective("scatter", num_bytes, call);
  const bool is_root = group.rank() == root;
  if (group.channel()) {
    std::vector<Parcel> parcels(static_cast<size_t>(group.size()));
    for (size_t to = 0; to < pieces.size(); ++to) parcels[to] = {pieces[to], piece_bytes[to], nullptr, 0};
    parcels[static_cast<size_t>(root)].out = out, parcels[static_cast<size_t>(root)].out_bytes = num_bytes;
    operation->poll = shared::exchange(group.channel(), make_ticket("scatter", 0, root, {}), std::move(parcels));
  } else {
    operation->stages.push_back([=, &group](Operation& op) {
      const int tag = group.tag_of(op);
      if (!is_root) return post_receive(op, group, out, num_bytes, root, tag);
      for (int to = 0; to < group.size(); ++to) {
        const auto i = static_cast<size_t>(to);
        if (to != root) post_send(op, group, pieces[i], piece_bytes[i], to, tag);
      }
    });
  }
  if (is_root && num_bytes > 0)  // after the sends: `out` may be one of the pieces
    operation->stages.push_back([=](Operation&) {
      std::memmove(out, pieces[static_cast<size_t>(root)], static_cast<size_t>(num_bytes));
    });
  Engine::instance().submit(operation);
  return operation;
}

OperationPtr barrier(Group& group, const Call& call) {
  OperationPtr operation = group.new_collective("barrier", 0, call);
  group.agree(*operation, "barrier", 0, 0, {});
  if (group.channel())
    operation->poll = shared::barrier(group.channel());
  else if (group.size() > 1)
    operation->stages.push_back([&group](Operation& op) {
      MPI_Request request;
      check_mpi(MPI_Ibarrier(group.comm(), &request), "MPI_Ibarrier");
      op.add_request(request);
    });
  Engine::instance().submit(operation);
  return operation;
}

}  // namespace mfugaku::comm
