// Collectives that reduce: all_reduce, reduce, reduce_scatter.
//
// Within a node they pass through shared memory, but for reduce. Elsewhere a table (schedule/choice.h) says which of
// three ways they go: MPI's own nonblocking collectives, a schedule, or an exchange in pieces. There each piece is
// reduced by one rank in the order of the ranks and, for all_reduce, sent to everybody; 64 MB of float32 on two ranks
// of one node took a quarter of the time of Open MPI 4.1's MPI_Iallreduce.
//
// float16 and bfloat16 accumulate in float32 and are rounded once, whatever the way: MPI_Op_create would take away the
// MPI's best algorithms and round at every step. Through MPI, and as sums under way in schedules, they travel as
// float32; in pieces, as contributions and as results, at their own width.
#include <cstring>

#include "../mpi_names.h"
#include "../reduce.h"
#include "../scratch.h"
#include "../shared/collectives.h"
#include "../wire.h"
#include "collectives.h"
#include "messages.h"
#include "scheduled.h"

namespace mfugaku::comm {
namespace {

// Shorter vectors would gain little from a narrow wire; among them are losses, norms and softmax denominators.
constexpr int64_t kMinNarrowBytes = 1 << 20;

// A sum of truths is "any", a product "all", as torch's other backends have it.
Reduction meaning_for(DataType type, Reduction reduction) {
  if (type != DataType::Bool) return reduction;
  if (reduction == Reduction::Sum || reduction == Reduction::Maximum) return Reduction::BitOr;
  if (reduction == Reduction::Product || reduction == Reduction::Minimum) return Reduction::BitAnd;
  return reduction;
}

double scale_of(Reduction reduction, int size) { return reduction == Reduction::Average ? 1.0 / size : 1.0; }

void* at(void* data, int64_t offset_bytes) { return static_cast<char*>(data) + offset_bytes; }

// Elements of the piece that each rank reduces: equal but for the last ones, multiples of 32 elements.
std::vector<int64_t> split_evenly(int64_t count, int size) {
  const int64_t piece = ((count + size - 1) / size + 31) / 32 * 32;
  std::vector<int64_t> counts(static_cast<size_t>(size));
  for (int i = 0; i < size; ++i)
    counts[static_cast<size_t>(i)] = std::max<int64_t>(0, std::min(piece, count - i * piece));
  return counts;
}

std::vector<int64_t> offsets_of(const std::vector<int64_t>& counts) {
  std::vector<int64_t> offsets(counts.size(), 0);
  for (size_t i = 1; i < counts.size(); ++i) offsets[i] = offsets[i - 1] + counts[i - 1];
  return offsets;
}

// Adds the stages that exchange pieces and leave the reduced piece of this rank in `out`, which may be its own piece.
void add_exchange_and_reduce(Operation& operation, Group& group, const std::vector<const void*>& pieces,
                             const std::vector<int64_t>& counts, void* out, DataType type, Reduction reduction) {
  const int size = group.size(), rank = group.rank();
  const auto self = static_cast<size_t>(rank);
  const int64_t own_count = counts[self], own_bytes = own_count * size_of(type);
  auto received = Scratch::acquire(own_bytes * (size - 1));
  operation.hold(received);
  // Contributions to the own piece by rank; the others' arrive in `received`.
  std::vector<const void*> contributions(static_cast<size_t>(size));
  int64_t place = 0;
  for (size_t i = 0; i < contributions.size(); ++i)
    contributions[i] = i == self ? pieces[i] : received.get() + own_bytes * place++;
  if (out != pieces[self] && overlaps(out, own_bytes, pieces[self], own_bytes)) {
    auto copy = Scratch::acquire(own_bytes);
    std::memcpy(copy.get(), pieces[self], static_cast<size_t>(own_bytes));
    contributions[self] = copy.get();
    operation.hold(copy);
  }
  operation.stages.push_back([=, &group](Operation& op) {
    const int tag = group.tag_of(op);
    for (int step = 1; step < size; ++step) {
      const int from = (rank - step + size) % size;
      post_receive(op, group, const_cast<void*>(contributions[static_cast<size_t>(from)]), own_bytes, from, tag);
    }
    for (int step = 1; step < size; ++step) {
      const int to = (rank + step) % size;
      const auto i = static_cast<size_t>(to);
      post_send(op, group, pieces[i], counts[i] * size_of(type), to, tag);
    }
  });
  operation.stages.push_back([=](Operation&) {
    reduce_pieces(type, reduction, contributions, own_count, scale_of(reduction, size), out);
  });
}

// Posts MPI's reduction of `count` elements in place (to everybody, or to `root`), in parts when there are many.
void post_mpi_reduction(Operation& op, Group& group, void* data, int64_t count, DataType type, Reduction reduction,
                        int root) {
  const int64_t limit = Engine::instance().max_count();
  for (int64_t begin = 0; begin < count; begin += limit) {
    const int length = static_cast<int>(std::min(limit, count - begin));
    void* part = at(data, begin * size_of(type));
    MPI_Request request;
    if (root < 0) {
      check_mpi(MPI_Iallreduce(MPI_IN_PLACE, part, length, mpi_type_of(type), mpi_op_of(reduction), group.comm(),
                               &request),
                "MPI_Iallreduce");
    } else {
      const bool is_root = group.rank() == root;
      check_mpi(MPI_Ireduce(is_root ? MPI_IN_PLACE : part, is_root ? part : nullptr, length, mpi_type_of(type),
                            mpi_op_of(reduction), root, group.comm(), &request),
                "MPI_Ireduce");
    }
    op.add_request(request);
  }
}

// The reduction through MPI, in float32 for halves. `root` < 0: everybody gets the result.
void add_mpi_reduction(Operation& operation, Group& group, void* data, int64_t count, DataType type,
                       Reduction reduction, int root) {
  const bool has_result = root < 0 || group.rank() == root;
  const double scale = scale_of(reduction, group.size());
  if (is_half(type)) {
    auto wide = Scratch::acquire(count * 4);
    auto* values = reinterpret_cast<float*>(wide.get());
    operation.hold(wide);
    operation.stages.push_back([=, &group](Operation& op) {
      widen(type, data, count, values);
      post_mpi_reduction(op, group, values, count, DataType::Float32, reduction, root);
    });
    if (has_result)
      operation.stages.push_back([=](Operation&) { narrow(type, values, count, scale, data); });
    return;
  }
  operation.stages.push_back([=, &group](Operation& op) {
    post_mpi_reduction(op, group, data, count, type, reduction, root);
  });
  if (has_result && scale != 1.0)
    operation.stages.push_back([=](Operation&) { scale_in_place(type, data, count, scale); });
}

void add_shared_reduce_scatter(Operation& operation, Group& group, const std::vector<const void*>& pieces,
                               const std::vector<int64_t>& counts, void* out, DataType type, Reduction reduction) {
  const auto self = static_cast<size_t>(group.rank());
  const int64_t own_bytes = counts[self] * size_of(type);
  bool is_overlapping = false;
  for (size_t i = 0; i < pieces.size(); ++i)
    is_overlapping |= (i != self || pieces[i] != out) && overlaps(pieces[i], counts[i] * size_of(type), out, own_bytes);
  void* target = out;
  if (is_overlapping) {
    auto result = Scratch::acquire(own_bytes);
    target = result.get();
    operation.hold(result);
    operation.stages.push_back(
        [=](Operation&) { std::memcpy(out, target, static_cast<size_t>(own_bytes)); });
  }
  operation.poll = shared::reduce_scatter(group.channel(), pieces, counts, target, type, reduction);
}

// One vector that every rank holds, split so that each rank reduces a piece of it.
struct Split {
  std::vector<int64_t> counts, offsets;  // of the pieces, in elements
  std::vector<const void*> pieces;
  size_t self;
  void* own;

  Split(const Group& group, void* data, int64_t count, DataType type)
      : counts(split_evenly(count, group.size())),
        offsets(offsets_of(counts)),
        self(static_cast<size_t>(group.rank())) {
    for (const int64_t offset : offsets) pieces.push_back(at(data, offset * size_of(type)));
    own = at(data, offsets[self] * size_of(type));
  }
};

// What the messages of a reduction carry, if it goes by a schedule.
DataType wire_for(const Group& group, int64_t num_bytes, DataType type, Reduction reduction) {
  const bool is_narrow = num_bytes >= kMinNarrowBytes && may_go_narrow(type, reduction);
  return is_narrow ? group.wire() : DataType::Float32;
}

// Whether a choice obeys the wire, and what the recorder says of it.
DataType note_way(Operation& operation, const schedule::Choice& choice, DataType wire) {
  operation.way = choice.name();
  if (!choice.may_be_narrow()) return DataType::Float32;
  if (is_half(wire)) operation.way += std::string(" in ") + name_of(wire);
  return wire;
}

// The pieces one after the other: where they stand, or copied.
const void* one_block(Operation& operation, const std::vector<const void*>& pieces,
                      const std::vector<int64_t>& piece_bytes) {
  if (is_one_block(pieces, piece_bytes)) return pieces[0];
  auto block = Scratch::acquire(sum_of(piece_bytes));
  char* end = block.get();
  for (size_t i = 0; i < pieces.size(); end += piece_bytes[i++])
    if (piece_bytes[i] > 0) std::memcpy(end, pieces[i], static_cast<size_t>(piece_bytes[i]));
  operation.hold(block);
  return block.get();
}

// Memory for a result that cannot be written to `out` while `input` is being read, or `out` itself.
void* target_for(Operation& operation, const void* input, int64_t input_bytes, void* out, int64_t out_bytes) {
  if (!overlaps(input, input_bytes, out, out_bytes)) return out;
  auto result = Scratch::acquire(out_bytes);
  operation.hold(result);
  return result.get();
}

}  // namespace

OperationPtr all_reduce(Group& group, void* data, int64_t count, DataType type, Reduction reduction,
                        const Call& call) {
  check_reduction(type, reduction);
  reduction = meaning_for(type, reduction);
  const int64_t element_bytes = size_of(type);
  OperationPtr operation = group.new_collective("all_reduce", count * element_bytes, call);
  group.agree(*operation, "all_reduce", operation->num_bytes, number_of(type, reduction), {});
  if (group.size() > 1 && count > 0) {
    if (group.channel()) {
      operation->poll = shared::all_reduce(group.channel(), data, count, type, reduction);
      Engine::instance().submit(operation);
      return operation;
    }
    DataType wire = wire_for(group, count * element_bytes, type, reduction);
    const schedule::Choice& choice =
        choose(group, schedule::Collective::AllReduce, count * element_bytes, type, true, wire);
    wire = note_way(*operation, choice, wire);
    if (choice.is_schedule()) {
      operation->poll = scheduled_all_reduce(group, choice, data, count, type, reduction,
                                             scale_of(reduction, group.size()), wire);
    } else if (choice.algorithm == schedule::Algorithm::Pieces) {
      const Split split(group, data, count, type);
      add_exchange_and_reduce(*operation, group, split.pieces, split.counts, split.own, type, reduction);
      operation->stages.push_back([=, &group](Operation& op) {
        const int size = group.size(), rank = group.rank(), tag = group.tag_of(op);
        for (int step = 1; step < size; ++step) {
          const int from = (rank - step + size) % size;
          const auto i = static_cast<size_t>(from);
          post_receive(op, group, at(data, split.offsets[i] * element_bytes), split.counts[i] * element_bytes, from,
                       tag);
        }
        for (int step = 1; step < size; ++step)
          post_send(op, group, split.own, split.counts[split.self] * element_bytes, (rank + step) % size, tag);
      });
    } else {
      add_mpi_reduction(*operation, group, data, count, type, reduction, -1);
    }
  }
  Engine::instance().submit(operation);
  return operation;
}

OperationPtr reduce(Group& group, void* data, int64_t count, DataType type, Reduction reduction, int root,
                    const Call& call) {
  check_reduction(type, reduction);
  reduction = meaning_for(type, reduction);
  const int64_t element_bytes = size_of(type);
  OperationPtr operation = group.new_collective("reduce", count * element_bytes, call);
  group.agree(*operation, "reduce", operation->num_bytes, number_of(type, reduction), {root});
  if (group.channel() && count > 0) {
    operation->poll = shared::reduce(group.channel(), data, count, type, reduction, root);
  } else if (group.size() > 1 && count > 0) {
    const schedule::Choice& choice = choose(group, schedule::Collective::AllReduce, count * element_bytes, type, true);
    if (choice.algorithm == schedule::Algorithm::Pieces) {  // there is no schedule for it
      const Split split(group, data, count, type);
      const int64_t own_bytes = split.counts[split.self] * element_bytes;
      void* own = split.own;
      if (group.rank() != root) {  // its tensor is not to be touched
        auto result = Scratch::acquire(own_bytes);
        own = result.get();
        operation->hold(result);
      }
      add_exchange_and_reduce(*operation, group, split.pieces, split.counts, own, type, reduction);
      operation->stages.push_back([=, &group](Operation& op) {
        const int tag = group.tag_of(op);
        if (group.rank() != root) return post_send(op, group, own, own_bytes, root, tag);
        for (int from = 0; from < group.size(); ++from) {
          const auto i = static_cast<size_t>(from);
          if (from != root)
            post_receive(op, group, at(data, split.offsets[i] * element_bytes), split.counts[i] * element_bytes, from,
                         tag);
        }
      });
    } else {
      add_mpi_reduction(*operation, group, data, count, type, reduction, root);
    }
  }
  Engine::instance().submit(operation);
  return operation;
}

OperationPtr reduce_scatter(Group& group, const std::vector<const void*>& pieces, const std::vector<int64_t>& counts,
                            void* out, DataType type, Reduction reduction, const Call& call) {
  check_reduction(type, reduction);
  reduction = meaning_for(type, reduction);
  const auto self = static_cast<size_t>(group.rank());
  const int64_t element_bytes = size_of(type), own_count = counts[self], own_bytes = own_count * element_bytes;
  const int64_t total_bytes = sum_of(counts) * element_bytes;
  OperationPtr operation = group.new_collective("reduce_scatter", total_bytes, call);
  group.agree(*operation, "reduce_scatter", total_bytes, number_of(type, reduction), counts);
  std::vector<int64_t> piece_bytes;
  for (const int64_t count : counts) piece_bytes.push_back(count * element_bytes);
  const bool is_even = std::all_of(counts.begin(), counts.end(), [&](int64_t n) { return n == own_count; });
  const double scale = scale_of(reduction, group.size());
  if (group.size() == 1 || group.channel() || total_bytes == 0) {
    if (group.size() == 1 && own_bytes > 0)
      std::memmove(out, pieces[0], static_cast<size_t>(own_bytes));
    else if (total_bytes > 0)
      add_shared_reduce_scatter(*operation, group, pieces, counts, out, type, reduction);
    Engine::instance().submit(operation);
    return operation;
  }
  const bool mpi_can = is_even && !is_half(type) && own_count <= Engine::instance().max_count();
  DataType wire = wire_for(group, total_bytes, type, reduction);
  const schedule::Choice& choice =
      choose(group, schedule::Collective::ReduceScatter, total_bytes, type, mpi_can, wire);
  wire = note_way(*operation, choice, wire);
  if (choice.algorithm == schedule::Algorithm::Pieces) {
    add_exchange_and_reduce(*operation, group, pieces, counts, out, type, reduction);
    Engine::instance().submit(operation);
    return operation;
  }
  const void* input = one_block(*operation, pieces, piece_bytes);
  // MPI forbids that the result be a part of the input; megatron's optimizer does it.
  const bool is_own_piece = choice.is_schedule() && input == pieces[0] && out == pieces[self];
  void* target = is_own_piece ? out : target_for(*operation, input, total_bytes, out, own_bytes);
  if (choice.is_schedule()) {
    operation->poll = scheduled_reduce_scatter(group, choice, input, counts, target, type, reduction, scale,
                                               wire);
  } else {
    operation->stages.push_back([=, &group](Operation& op) {
      MPI_Request request;
      check_mpi(MPI_Ireduce_scatter_block(input, target, static_cast<int>(own_count), mpi_type_of(type),
                                          mpi_op_of(reduction), group.comm(), &request),
                "MPI_Ireduce_scatter_block");
      op.add_request(request);
    });
    if (scale != 1.0)
      operation->stages.push_back([=](Operation&) { scale_in_place(type, target, own_count, scale); });
  }
  if (target != out)
    operation->stages.push_back([=](Operation&) { std::memcpy(out, target, static_cast<size_t>(own_bytes)); });
  Engine::instance().submit(operation);
  return operation;
}

}  // namespace mfugaku::comm
