#include "group.h"

#include <array>
#include <stdexcept>
#include <utility>

#include "transport/mpi.h"

namespace mfugaku::comm {
namespace {

// FNV-1a over the name and the member list.
uint64_t fingerprint(const std::string& name, const std::vector<int>& ranks) {
  uint64_t hash = 14695981039346656037ull;
  const auto mix = [&hash](unsigned char byte) { hash = (hash ^ byte) * 1099511628211ull; };
  for (const char letter : name) mix(static_cast<unsigned char>(letter));
  for (const int rank : ranks)
    for (int shift = 0; shift < 32; shift += 8) mix(static_cast<unsigned char>(rank >> shift));
  return hash;
}

// A dissemination barrier among the members over the base communicator: when it is over, all of them are about to
// create the communicator. Its messages carry the fingerprint, so two groups with the same tag are told apart.
void shake_hands(const OperationPtr& operation, const std::vector<int>& mpi_ranks, int tag, uint64_t print) {
  struct Letters {
    uint64_t mine;
    std::array<uint64_t, 32> received;
  };
  auto letters = std::make_shared<Letters>();
  letters->mine = print;
  operation->hold(letters);
  const MPI_Comm base = Engine::instance().base();
  const int size = operation->group_size, rank = operation->rank;
  int num_rounds = 0;
  for (int distance = 1; distance < size; distance *= 2, ++num_rounds) {
    const int to = mpi_ranks[static_cast<size_t>((rank + distance) % size)];
    const int from = mpi_ranks[static_cast<size_t>((rank - distance + size) % size)];
    const int round = num_rounds;
    operation->stages.push_back([=](Operation& op) {
      MPI_Request request;
      check_mpi(MPI_Irecv(&letters->received[static_cast<size_t>(round)], 8, MPI_BYTE, from, tag, base, &request),
                "MPI_Irecv");
      op.add_request(request, 8);
      check_mpi(MPI_Isend(&letters->mine, 8, MPI_BYTE, to, tag, base, &request), "MPI_Isend");
      op.add_request(request);
    });
  }
  operation->stages.push_back([letters, num_rounds](Operation&) {
    for (int round = 0; round < num_rounds; ++round)
      if (letters->received[static_cast<size_t>(round)] != letters->mine)
        throw CommFailure("its members disagree about the group's name or ranks; every rank must create the same "
                          "groups in the same order");
  });
}

// The length of the stretches of one value that make up all of the values, or 1 where they differ.
int length_of_stretches(const std::vector<uint64_t>& values) {
  size_t length = 1;
  while (length < values.size() && values[length] == values[0]) ++length;
  if (values.size() % length != 0) return 1;
  for (size_t i = length; i < values.size(); ++i)
    if ((values[i] == values[i - 1]) != (i % length != 0)) return 1;
  return static_cast<int>(length);
}

}  // namespace

Group::Group(std::string name, std::vector<int> mpi_ranks, int rank, double timeout_s)
    : name_(std::make_shared<const std::string>(std::move(name))),
      mpi_ranks_(std::move(mpi_ranks)),
      rank_(rank),
      timeout_s_(timeout_s) {}

std::shared_ptr<Group> Group::create(std::string name, std::vector<int> mpi_ranks, int rank, double timeout_s) {
  std::shared_ptr<Group> group(new Group(std::move(name), std::move(mpi_ranks), rank, timeout_s));
  group->connect();
  return group;
}

void Group::connect() {
  Engine& engine = Engine::instance();
  engine.check_ready();
  const uint64_t print = fingerprint(*name_, mpi_ranks_);
  engine.locked([&] { flight_number_ = engine.flight().add_group(*name_, mpi_ranks_, rank_); });
  // MPI guarantees tags up to 32767 only; larger ones are not needed here.
  const int tag = static_cast<int>(print % 32768);
  if (size() > 1) {
    OperationPtr handshake = new_operation("creation", 0, Call{});
    shake_hands(handshake, mpi_ranks_, tag, print);
    engine.submit(handshake);
    engine.wait({handshake});
  }
  engine.locked([&] {
    MPI_Group everyone = MPI_GROUP_NULL, members = MPI_GROUP_NULL;
    check_mpi(MPI_Comm_group(engine.base(), &everyone), "MPI_Comm_group");
    check_mpi(MPI_Group_incl(everyone, size(), mpi_ranks_.data(), &members), "MPI_Group_incl");
    check_mpi(MPI_Comm_create_group(engine.base(), members, tag, &comm_), "MPI_Comm_create_group");
    MPI_Group_free(&members);
    MPI_Group_free(&everyone);
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  });
  const auto run = [&](Operation::Stage stage) {
    OperationPtr operation = new_operation("creation", 0, Call{});
    operation->stages.push_back(std::move(stage));
    engine.submit(operation);
    engine.wait({operation});
  };
  std::vector<uint64_t> nodes;
  for (const int rank : mpi_ranks_) nodes.push_back(engine.node_of(rank));
  ranks_per_node_ = length_of_stretches(nodes);
  const bool is_within_node = ranks_per_node_ == size();
  channel_ = Channel::connect(comm_, rank_, size(), engine.may_share_memory() && is_within_node, run);
  if (!channel_ && size() > 1 && engine.wants_utofu()) mesh_ = connect_utofu(comm_, rank_, size(), run);
  notes_ = std::make_shared<FailureNotes>(comm_, rank_, size(), engine.max_tag());
}

OperationPtr Group::new_operation(const char* operation, int64_t num_bytes, const Call& call) {
  if (is_shut_down_.load())
    throw CommFailure(std::string(operation) + " on group '" + *name_ + "', which has been destroyed");
  auto result = std::make_shared<Operation>();
  result->name = operation;
  result->group = name_;
  result->group_number = flight_number_;
  result->totals = &totals_of(operation);
  result->num_bytes = num_bytes;
  result->rank = rank_;
  result->group_size = size();
  result->timeout_s = call.timeout_s > 0 ? call.timeout_s : timeout_s_;
  result->keep.reserve(call.keep.size() + 1);
  result->keep = call.keep;
  result->hold(shared_from_this());  // the stages refer to the group
  return result;
}

// Few operations have names, and these are literals.
Totals& Group::totals_of(const char* operation) {
  std::lock_guard<std::mutex> lock(totals_mutex_);
  for (const auto& [name, totals] : totals_)
    if (name == operation) return *totals;
  return *totals_.emplace_back(operation, &Engine::instance().recorder().totals_of(*name_, operation)).second;
}

OperationPtr Group::new_collective(const char* operation, int64_t num_bytes, const Call& call) {
  OperationPtr result = new_operation(operation, num_bytes, call);
  result->sequence = ++num_collectives_;
  if (channel_) result->way = "shared memory";
  return result;
}

OperationPtr Group::new_point_to_point(const char* operation, int64_t num_bytes, int peer, const Call& call) {
  OperationPtr result = new_operation(operation, num_bytes, call);
  result->sequence = ++num_point_to_point_;
  result->peer = peer;
  return result;
}

// The last two tags belong to failure notes and tickets. All members begin collectives in the same order, so one tag
// does for all tickets.
void Group::agree(Operation& collective, const char* name, int64_t num_bytes, int64_t argument,
                  const std::vector<int64_t>& sizes) {
  if (size() == 1 || channel_) return;
  collective.beside = std::make_shared<Agreement>(notes_, comm_, rank_, size(), Engine::instance().max_tag() - 1,
                                                  make_ticket(name, num_bytes, argument, sizes));
  collective.on_failure = [notes = notes_](const std::string& reason) { notes->send(reason); };
}

// Of the tags of collectives, the upper half belongs to schedules.
int Group::tag_of(const Operation& collective) const {
  const int first = monitor_tag() + 1, end = first + (Engine::instance().max_tag() - first) / 2;
  return first + static_cast<int>(collective.sequence % static_cast<uint64_t>(end - first));
}

int Group::take_tags(int num_tags) {
  const int begin = monitor_tag() + 1, max_tag = Engine::instance().max_tag() - 1;
  const int first = begin + (max_tag - begin) / 2, available = max_tag - first;
  if (num_tags > available)
    throw std::invalid_argument("a schedule of " + std::to_string(num_tags) + " strands needs as many tags, but this "
                                "MPI has " + std::to_string(available) + " left for schedules");
  if (num_tags > available - num_tags_taken_) num_tags_taken_ = 0;
  num_tags_taken_ += num_tags;
  return first + num_tags_taken_ - num_tags;
}

std::unique_ptr<Transport> Group::new_transport(int num_strands) {
  if (mesh_) return make_utofu_transport(mesh_, num_strands);
  return std::make_unique<MpiTransport>(comm_, take_tags(num_strands), Engine::instance().max_count());
}

void Group::shut_down() {
  if (is_shut_down_.exchange(true)) return;
  Engine& engine = Engine::instance();
  if (!engine.is_ready()) return;
  engine.locked([&] {
    if (!engine.has_open_operations(*name_)) MPI_Comm_free(&comm_);
  });
}

}  // namespace mfugaku::comm
