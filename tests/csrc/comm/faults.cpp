// Members that do not mean the same collective, and members that die in one: whoever is left is told in time, and
// memory beside the tensors stays as it was.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>

#include "comm/schedule/choice.h"
#include "job.h"

namespace mfugaku::tests {
namespace {

using comm::CommFailure;
using comm::DataType;
using comm::Engine;
using comm::Group;
using comm::OperationPtr;
using comm::Reduction;

// A tensor between two guards; for every rank, to be on the safe side of ranks that mean a longer one.
class GuardedTensor {
 public:
  explicit GuardedTensor(int64_t num_bytes) : num_bytes_(num_bytes), block_(allocate(num_bytes + 2 * kGuard, false)) {
    std::memset(block_.get(), kMark, static_cast<size_t>(num_bytes + 2 * kGuard));
    std::memset(data(), 1, static_cast<size_t>(num_bytes));
  }
  char* data() const { return block_.get() + kGuard; }
  std::shared_ptr<void> owner() const { return block_; }
  void check() const {
    for (int64_t i = 0; i < kGuard; ++i)
      require(block_.get()[i] == kMark && data()[num_bytes_ + i] == kMark, "memory beside a tensor was written to");
  }

 private:
  static constexpr int64_t kGuard = 4096;
  static constexpr char kMark = 0x5a;
  int64_t num_bytes_;
  std::shared_ptr<char> block_;
};

// Starts a collective by name on whole vectors of `num_bytes`, which divide by the number of ranks.
OperationPtr start(const std::string& name, Group& group, const GuardedTensor& in, const GuardedTensor& out,
                   int64_t num_bytes, DataType type) {
  const auto size = static_cast<size_t>(group.size());
  const int64_t piece_bytes = num_bytes / group.size(), count = num_bytes / comm::size_of(type);
  const std::vector<int64_t> counts(size, count / group.size()), pieces_bytes(size, piece_bytes);
  std::vector<const void*> pieces;
  std::vector<void*> outs;
  std::vector<comm::Parcel> parcels;
  for (size_t i = 0; i < size; ++i) {
    pieces.push_back(in.data() + static_cast<int64_t>(i) * piece_bytes);
    outs.push_back(out.data() + static_cast<int64_t>(i) * piece_bytes);
    parcels.push_back({pieces.back(), piece_bytes, outs.back(), piece_bytes});
  }
  comm::Call call;
  call.keep = {in.owner(), out.owner()};
  const int root = group.size() - 1, next = (group.rank() + 1) % group.size();
  const int before = (group.rank() + group.size() - 1) % group.size();
  if (name == "all_reduce") return comm::all_reduce(group, in.data(), count, type, Reduction::Sum, call);
  if (name == "reduce") return comm::reduce(group, in.data(), count, type, Reduction::Sum, root, call);
  if (name == "reduce_scatter")
    return comm::reduce_scatter(group, pieces, counts, out.data(), type, Reduction::Sum, call);
  if (name == "all_gather") return comm::all_gather(group, in.data(), outs, pieces_bytes, call);
  if (name == "broadcast") return comm::broadcast(group, in.data(), num_bytes, root, call);
  if (name == "all_to_all") return comm::all_to_all(group, std::move(parcels), call);
  if (name == "gather") return comm::gather(group, in.data(), piece_bytes, outs, pieces_bytes, root, call);
  if (name == "scatter") return comm::scatter(group, pieces, pieces_bytes, out.data(), piece_bytes, root, call);
  if (name == "barrier") return comm::barrier(group, call);
  if (name == "send") return comm::send(group, in.data(), num_bytes, next, 0, call);
  if (name == "recv") return comm::receive(group, in.data(), num_bytes, before, 0, call);
  throw Failure("no collective is called " + name);
}

std::string error_of(const OperationPtr& operation, double timeout_s) {
  try {
    Engine::instance().wait({operation}, timeout_s);
    return {};
  } catch (const CommFailure& failure) {
    return failure.what();
  }
}

}  // namespace

// One rank means another length, another type, or another collective. Every rank is told, long before its timeout;
// where the collective is over for a rank before others have come, by the next one.
void check_disagreements(const Options& options) {
  struct Case {
    const char *name, *name_of_one;
    int64_t num_bytes, num_bytes_of_one;
    DataType type_of_one;
  };
  const int size = Engine::instance().size();
  std::vector<Case> cases;
  for (const int64_t num_bytes : {int64_t{480}, int64_t{2'400'000}})
    for (const char* name : {"all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce"}) {
      cases.push_back({name, name, num_bytes, num_bytes / 2, DataType::Float32});
      cases.push_back({name, name, num_bytes, num_bytes + 48 * size, DataType::Float32});
      if (std::strcmp(name, "all_gather") != 0 && std::strcmp(name, "broadcast") != 0)
        cases.push_back({name, name, num_bytes, num_bytes, DataType::Int32});
    }
  if (options.shared_memory)  // elsewhere each pair of ranks has sizes of its own
    for (const int64_t num_bytes : {int64_t{480}, int64_t{2'400'000}})
      for (const char* name : {"all_to_all", "gather", "scatter"})
        cases.push_back({name, name, num_bytes, num_bytes + 48 * size, DataType::Float32});
  cases.push_back({"all_reduce", "all_gather", 4800, 4800, DataType::Float32});
  cases.push_back({"barrier", "all_reduce", 4800, 4800, DataType::Float32});

  std::vector<std::string> rules = {"all=ring", "all=halving", "all=pieces", "all_reduce=doubling,all=ring", "all=mpi"};
  if (options.shared_memory) rules = {""};
  const double too_late_s = 0.7 * options.timeout_s;
  for (const std::string& rule : rules) {
    comm::schedule::ChoiceTable::instance().set(rule);
    for (const Case& one : cases) {
      auto group = make_group(all_ranks(), options);
      const bool is_other = group->rank() == 1;
      const GuardedTensor in(3'000'000), out(3'000'000);
      const std::string name = is_other ? one.name_of_one : one.name;
      const double begin_s = comm::now_s();
      std::string error = error_of(start(name, *group, in, out, is_other ? one.num_bytes_of_one : one.num_bytes,
                                         is_other ? one.type_of_one : DataType::Float32), 0);
      if (error.empty()) error = error_of(comm::barrier(*group, {}), 0);
      const std::string what = rule + ", " + name + " of " + std::to_string(one.num_bytes) + " and " +
                               std::to_string(one.num_bytes_of_one) + " bytes: ";
      require(!error.empty(), what + "nobody noticed");
      require(comm::now_s() - begin_s < too_late_s, what + "noticed too late: " + error);
      in.check(), out.check();
      bool has_new_error = false;
      try {
        has_new_error = !error_of(comm::barrier(*group, {}), 0).empty();
      } catch (const CommFailure&) {
        has_new_error = true;
      }
      require(has_new_error, what + "the group went on afterwards");
    }
  }
  comm::schedule::ChoiceTable::instance().set("");
}

void survive(const Options& options) {
  constexpr int64_t kNumBytes = 4'800'000;
  auto group = make_group(all_ranks(), options);
  const int rank = group->rank(), last = group->size() - 1;
  Engine::instance().wait({comm::barrier(*group, {})});
  const GuardedTensor in(kNumBytes), out(kNumBytes);
  const bool is_message = options.kill == "message";
  if (rank == last) {
    // In the middle: what can be posted is, and the others have begun.
    start(is_message ? "send" : options.kill, *group, in, out, kNumBytes, DataType::Float32);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    raise(SIGKILL);
  }
  const double begin_s = comm::now_s();
  const std::string name = is_message ? "recv" : options.kill;
  std::string error = error_of(start(name, *group, in, out, kNumBytes, DataType::Float32), 0);
  // A rank whose part of it was over already is told by the next one.
  try {
    if (error.empty()) error = error_of(comm::barrier(*group, {}), 0);
  } catch (const CommFailure& failure) {
    error = failure.what();
  }
  require(!error.empty(), "nobody noticed that rank " + std::to_string(last) + " has died");
  in.check(), out.check();
  std::printf("rank %d after %.1f s: %s\n", rank, comm::now_s() - begin_s, error.c_str());
  std::fflush(stdout);
  _exit(0);
}

}  // namespace mfugaku::tests
