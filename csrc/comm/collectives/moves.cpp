// Collectives that move bytes: broadcast, all_gather, all_to_all, gather, scatter, barrier.
#include <cstring>

#include "../scratch.h"
#include "../shared/collectives.h"
#include "../shared/exchange.h"
#include "collectives.h"
#include "messages.h"
#include "scheduled.h"

namespace mfugaku::comm {
namespace {

// Every rank sends pieces[i] to rank i and receives outs[i] from it. The peers are taken in rotating order, so that
// they are not all asked at once by everybody.
void post_exchange(Operation& operation, const Group& group, const std::vector<const void*>& pieces,
                   const std::vector<int64_t>& piece_bytes, const std::vector<void*>& outs,
                   const std::vector<int64_t>& out_bytes) {
  const int size = group.size(), rank = group.rank(), tag = group.tag_of(operation);
  for (int step = 1; step < size; ++step) {
    const auto from = static_cast<size_t>((rank - step + size) % size);
    post_receive(operation, group, outs[from], out_bytes[from], static_cast<int>(from), tag);
  }
  for (int step = 1; step < size; ++step) {
    const auto to = static_cast<size_t>((rank + step) % size);
    post_send(operation, group, pieces[to], piece_bytes[to], static_cast<int>(to), tag);
  }
  const auto self = static_cast<size_t>(rank);
  if (piece_bytes[self] > 0) std::memmove(outs[self], pieces[self], static_cast<size_t>(piece_bytes[self]));
}

// By rank: a value for one of them, nothing for the others.
template <typename T> std::vector<T> only_for(int rank, int size, T value) {
  std::vector<T> values(static_cast<size_t>(size));
  values[static_cast<size_t>(rank)] = value;
  return values;
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
    const std::vector<const void*> pieces(outs.size(), data);
    const std::vector<int64_t> piece_bytes(outs.size(), own_bytes);
    operation->stages.push_back([=, &group](Operation& op) {
      post_exchange(op, group, pieces, piece_bytes, outs, num_bytes);
    });
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

OperationPtr all_to_all(Group& group, const std::vector<const void*>& pieces, const std::vector<int64_t>& piece_bytes,
                        const std::vector<void*>& outs, const std::vector<int64_t>& out_bytes, const Call& call) {
  const auto self = static_cast<size_t>(group.rank());
  if (piece_bytes[self] != out_bytes[self])
    throw std::invalid_argument("all_to_all: the piece for this rank itself has " + std::to_string(piece_bytes[self]) +
                                " bytes, but the place for it has " + std::to_string(out_bytes[self]));
  OperationPtr operation = group.new_collective("all_to_all", sum_of(piece_bytes), call);
  group.agree(*operation, "all_to_all", 0, 0, {});  // each pair of ranks has sizes of its own
  std::vector<const void*> sources = pieces;
  for (size_t i = 0; i < pieces.size(); ++i) {
    bool is_overlapping = false;
    for (size_t j = 0; j < outs.size(); ++j)
      is_overlapping |= (i != self || j != self || pieces[i] != outs[j]) &&
                        overlaps(pieces[i], piece_bytes[i], outs[j], out_bytes[j]);
    if (!is_overlapping) continue;
    auto copy = Scratch::acquire(piece_bytes[i]);
    std::memcpy(copy.get(), pieces[i], static_cast<size_t>(piece_bytes[i]));
    sources[i] = copy.get();
    operation->hold(copy);
  }
  if (group.channel()) {
    if (piece_bytes[self] > 0) std::memmove(outs[self], sources[self], static_cast<size_t>(piece_bytes[self]));
    operation->poll = shared::exchange(group.channel(), make_ticket("all_to_all", 0, 0, {}), std::move(sources),
                                       piece_bytes, outs, out_bytes);
  } else {
    operation->stages.push_back(
        [=, &group](Operation& op) { post_exchange(op, group, sources, piece_bytes, outs, out_bytes); });
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
    const auto size = static_cast<size_t>(group.size());
    operation->poll = shared::exchange(group.channel(), make_ticket("gather", 0, root, {}),
                                       only_for(root, group.size(), data), only_for(root, group.size(), num_bytes),
                                       is_root ? outs : std::vector<void*>(size),
                                       is_root ? out_bytes : std::vector<int64_t>(size));
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
    const auto size = static_cast<size_t>(group.size());
    operation->poll = shared::exchange(group.channel(), make_ticket("scatter", 0, root, {}),
                                       is_root ? pieces : std::vector<const void*>(size),
                                       is_root ? piece_bytes : std::vector<int64_t>(size),
                                       only_for(root, group.size(), out), only_for(root, group.size(), num_bytes));
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
