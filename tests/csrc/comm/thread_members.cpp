// A channel whose members are threads of one process: what ThreadSanitizer cannot see between processes, it sees here.
// The members map one memory at one address, and otherwise do what ranks of a node do.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "comm/shared/arena.h"
#include "comm/shared/collectives.h"
#include "comm/shared/exchange.h"
#include "comm/shared/remote.h"
#include "job.h"
#include "values.h"

namespace mfugaku::tests {
namespace {

using comm::Channel;
using comm::Poll;

// One member's side of a collective: begun, and what must be there when it is over.
struct Part {
  std::shared_ptr<Poll> poll;
  std::function<void()> verify;
};

struct Task {
  int kind;
  DataType type;
  Reduction reduction;
  int64_t count, salt;
  bool is_in_arena;
  int root;
};

Task draw_task(Random& common, int size, int64_t max_count) {
  static const std::vector<DataType> types = {DataType::Float32, DataType::BFloat16, DataType::Float64,
                                              DataType::Int16};
  Task task{};
  task.kind = static_cast<int>(common.below(7));
  task.type = common.choose(types);
  task.reduction = common.below(2) == 0 ? Reduction::Sum : Reduction::Maximum;
  task.count = 1 + common.below(common.choose(std::vector<int64_t>{3, 1000, 30'000, max_count}));
  task.salt = common.below(100);
  task.is_in_arena = common.below(2) == 0;
  task.root = static_cast<int>(common.below(size));
  return task;
}

void expect(const Task& task, const char* data, int64_t begin, int size, int rank) {
  for (int64_t i = 0; i < task.count; ++i) {
    const double wanted = rank < 0 ? reduced(task.type, task.reduction, size, begin + i, task.salt)
                                   : contribution(task.type, rank, begin + i, task.salt);
    require(read(task.type, data, i) == wanted, "element " + std::to_string(i) + " of " + std::to_string(task.count));
  }
}

// Each pair has a size of its own, some have nothing for each other.
Part begin_exchange(const Task& task, const std::shared_ptr<Channel>& channel) {
  const int rank = channel->rank(), size = channel->size();
  const int64_t element_bytes = comm::size_of(task.type);
  const auto count_of = [=](int from, int to) { return task.count * ((from + 2 * to) % 3) / 2; };
  std::vector<std::shared_ptr<char>> owners;
  std::vector<comm::Parcel> parcels;
  for (int other = 0; other < size; ++other) {
    const int64_t for_it = count_of(rank, other), from_it = count_of(other, rank);
    owners.push_back(allocate(std::max<int64_t>(1, for_it) * element_bytes, task.is_in_arena));
    for (int64_t i = 0; i < for_it; ++i)
      write(task.type, owners.back().get(), i, contribution(task.type, rank, other + i, task.salt));
    const void* const piece = owners.back().get();
    owners.push_back(allocate(std::max<int64_t>(1, from_it) * element_bytes, task.is_in_arena));
    parcels.push_back({piece, for_it * element_bytes, owners.back().get(), from_it * element_bytes});
  }
  const comm::Ticket ticket = comm::make_ticket("all_to_all", 0, 0, {});
  return {comm::shared::exchange(channel, ticket, parcels), [=] {
            (void)owners;
            for (int other = 0; other < size; ++other) {
              Task piece = task;
              piece.count = other == rank ? 0 : count_of(other, rank);
              expect(piece, static_cast<const char*>(parcels[static_cast<size_t>(other)].out), rank, size, other);
            }
          }};
}

Part begin(const Task& task, const std::shared_ptr<Channel>& channel) {
  const int rank = channel->rank(), size = channel->size();
  const int64_t element_bytes = comm::size_of(task.type), num_bytes = task.count * element_bytes;
  const auto make = [&](int64_t count, int64_t from) {
    auto data = allocate(count * element_bytes, task.is_in_arena);
    for (int64_t i = 0; i < count; ++i)
      write(task.type, data.get(), i, contribution(task.type, rank, from + i, task.salt));
    return data;
  };
  const auto sized = static_cast<size_t>(size);
  switch (task.kind) {
    case 0: {
      auto data = make(task.count, 0);
      return {comm::shared::all_reduce(channel, data.get(), task.count, task.type, task.reduction),
              [=] { expect(task, data.get(), 0, size, -1); }};
    }
    case 1: {
      auto whole = make(size * task.count, 0);
      std::vector<const void*> pieces;
      for (int r = 0; r < size; ++r) pieces.push_back(whole.get() + r * num_bytes);
      char* out = whole.get() + rank * num_bytes;
      return {comm::shared::reduce_scatter(channel, pieces, std::vector<int64_t>(sized, task.count), out, task.type,
                                           task.reduction),
              [=] { (void)whole, expect(task, out, rank * task.count, size, -1); }};
    }
    case 2: {
      auto whole = allocate(size * num_bytes, task.is_in_arena), own = make(task.count, 0);
      std::vector<void*> outs;
      for (int r = 0; r < size; ++r) outs.push_back(whole.get() + r * num_bytes);
      return {comm::shared::all_gather(channel, own.get(), outs, std::vector<int64_t>(sized, num_bytes)), [=] {
                (void)own;
                for (int r = 0; r < size; ++r) expect(task, whole.get() + r * num_bytes, 0, size, r);
              }};
    }
    case 3: {
      auto data = make(task.count, 0);
      return {comm::shared::broadcast(channel, data.get(), num_bytes, task.root),
              [=] { expect(task, data.get(), 0, size, task.root); }};
    }
    case 4: {
      auto data = make(task.count, 0);
      const bool is_root = rank == task.root;
      return {comm::shared::reduce(channel, data.get(), task.count, task.type, task.reduction, task.root),
              [=] { expect(task, data.get(), 0, size, is_root ? -1 : rank); }};  // the others' stay as they are
    }
    case 5: return begin_exchange(task, channel);
    default: return {comm::shared::barrier(channel), [] {}};
  }
}

// Several collectives of a member under way at a time, looked after in turn as the engine does it.
void run_member(const Options& options, const std::shared_ptr<Channel>& channel, const std::atomic<bool>& has_failed) {
  Random common(options.seed);
  for (int64_t round = 0; round < options.num_rounds; ++round) {
    std::vector<Part> parts;
    for (int64_t left = 1 + common.below(4); left > 0; --left)
      parts.push_back(begin(draw_task(common, channel->size(), round % 16 == 0 ? 600'000 : 50'000), channel));
    while (!parts.empty()) {
      bool has_moved = false;
      for (size_t i = 0; i < parts.size();) {
        if (parts[i].poll->advance(has_moved)) {
          parts[i].verify();
          parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i));
        } else {
          ++i;
        }
      }
      if (!has_moved) sched_yield();
      if (has_failed.load()) return;
    }
  }
}

}  // namespace

std::vector<std::shared_ptr<Channel>> make_thread_channels(int size, bool has_remote_reads) {
  std::vector<char*> segments, arenas;
  std::vector<int32_t> processes;
  char* const arena = comm::Arena::instance().open(comm::Arena::instance().address());
  for (int member = 0; member < size; ++member) {
    const size_t num_bytes = Channel::segment_bytes(size);
    segments.push_back(static_cast<char*>(comm::Arena::instance().allocate(static_cast<int64_t>(num_bytes))));
    std::memset(segments.back(), 0, num_bytes);
    arenas.push_back(arena);
    if (has_remote_reads) processes.push_back(getpid());
  }
  std::vector<std::shared_ptr<Channel>> channels;
  for (int member = 0; member < size; ++member) channels.push_back(Channel::over(member, segments, arenas, processes));
  return channels;
}

void check_thread_members(const Options& options) {
  const bool can_read = comm::can_read_from(getpid(), comm::remote_mark());
  for (const bool has_remote_reads : {false, can_read}) {
    const auto channels = make_thread_channels(options.num_members, has_remote_reads);
    std::atomic<bool> has_failed{false};
    std::vector<std::string> failures(channels.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < channels.size(); ++i)
      threads.emplace_back([&, i] {
        try {
          run_member(options, channels[i], has_failed);
        } catch (const std::exception& failure) {
          failures[i] = "member " + std::to_string(i) + ": " + failure.what();
          has_failed.store(true);
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (const std::string& failure : failures) require(failure.empty(), failure);
  }
}

}  // namespace mfugaku::tests
