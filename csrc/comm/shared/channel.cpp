#include "channel.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "../engine.h"
#include "arena.h"
#include "remote.h"

namespace mfugaku::comm {
namespace {

// How a member introduces itself to the others.
struct Card {
  char boot_id[40];  // of the running kernel: alike on one node only
  int32_t is_wanted;
  int32_t has_memory;
  MemoryAddress memory, arena;
  const uint64_t* mark;
  cpu_set_t cores;
};

Card introduce(bool is_wanted, const SharedMemory& memory) {
  Card card{};
  std::ifstream("/proc/sys/kernel/random/boot_id").getline(card.boot_id, sizeof(card.boot_id));
  card.is_wanted = is_wanted && card.boot_id[0] != '\0';
  card.has_memory = memory.data() != nullptr;
  if (card.has_memory) card.memory = memory.address();
  if (card.has_memory) card.arena = Arena::instance().address();
  card.mark = remote_mark();
  permit_remote_reads();
  if (sched_getaffinity(0, sizeof(card.cores), &card.cores) != 0) CPU_ZERO(&card.cores);
  return card;
}

// What a member has found possible with all others.
struct Success {
  int32_t slots, arenas, remote_reads;
};

// Whether all members are on this node and wish to share memory.
bool may_share(const std::vector<Card>& cards) {
  return std::all_of(cards.begin(), cards.end(), [&](const Card& card) {
    return card.is_wanted && std::strcmp(card.boot_id, cards[0].boot_id) == 0;
  });
}

bool has_core_for_each(const std::vector<Card>& cards) {
  cpu_set_t cores = cards[0].cores;
  for (const Card& card : cards) CPU_OR(&cores, &cores, &card.cores);
  return static_cast<size_t>(CPU_COUNT(&cores)) >= cards.size();
}

template <typename T>
std::vector<T> gather_from_all(const T& mine, MPI_Comm comm, int size, const Channel::Run& run) {
  // Owned by the heap: when the wait times out, MPI still knows this memory.
  auto all = std::make_shared<std::vector<T>>(static_cast<size_t>(size) + 1, mine);
  run([all, comm](Operation& operation) {
    operation.hold(all);
    MPI_Request request;
    check_mpi(MPI_Iallgather(&all->back(), sizeof(T), MPI_BYTE, all->data(), sizeof(T), MPI_BYTE, comm, &request),
              "MPI_Iallgather");
    operation.add_request(request);
  });
  return {all->begin(), all->end() - 1};
}

void say_once(const std::string& reason) {
  static std::atomic<bool> was_said{false};
  if (was_said.exchange(true)) return;
  std::fprintf(stderr,
               "mfugaku: the ranks of this node cannot share memory: %s. Their collectives go through MPI, which takes "
               "several times as long. Let them, or set MFUGAKU_COMM_TRANSPORT=mpi to go without.\n",
               reason.c_str());
  std::fflush(stderr);
}

}  // namespace

Channel::Channel(int rank, int size)
    : rank_(rank),
      section_bytes_(section_bytes_for(size)),
      segments_(static_cast<size_t>(size)),
      data_(static_cast<size_t>(size), nullptr) {}

size_t Channel::segment_bytes(int size) {
  const auto num_bytes = static_cast<size_t>(kFirstSlot + kNumSlots * (kInputStride + section_bytes_for(size) + 256));
  return (num_bytes + 4095) / 4096 * 4096;
}

std::shared_ptr<Channel> Channel::over(int rank, const std::vector<char*>& segments, std::vector<char*> arenas,
                                       std::vector<int32_t> processes) {
  std::shared_ptr<Channel> channel(new Channel(rank, static_cast<int>(segments.size())));
  channel->data_ = segments;
  channel->arenas_ = std::move(arenas);
  channel->processes_ = std::move(processes);
  return channel;
}

std::shared_ptr<Channel> Channel::connect(MPI_Comm comm, int rank, int size, bool is_wanted, const Run& run) {
  if (size < 2 || size > kMaxMembers) return nullptr;
  std::shared_ptr<Channel> channel(new Channel(rank, size));
  std::string reason;
  const auto self = static_cast<size_t>(rank);
  if (is_wanted) {
    try {
      channel->segments_[self] = SharedMemory::create("mfugaku group", segment_bytes(size));
    } catch (const std::exception& error) {
      reason = error.what();
    }
  }
  const auto cards = gather_from_all(introduce(is_wanted, channel->segments_[self]), comm, size, run);
  if (!may_share(cards)) return nullptr;
  for (size_t member = 0; reason.empty() && member < cards.size(); ++member) {
    if (member == self || !cards[member].has_memory) continue;
    try {
      channel->segments_[member] = SharedMemory::open(cards[member].memory, false);
    } catch (const std::exception& error) {
      reason = error.what();
    }
  }
  // Without arenas, tensors pass through the slots; that alone is worth no words.
  for (const Card& card : cards) channel->arenas_.push_back(Arena::instance().open(card.arena));
  const bool has_arenas = std::count(channel->arenas_.begin(), channel->arenas_.end(), nullptr) == 0;
  // Nobody may close its file before all have opened it, and all must come to the same answer.
  const bool can_read = std::all_of(cards.begin(), cards.end(), [](const Card& card) {
    return can_read_from(card.memory.pid, card.mark);
  });
  const auto successes = gather_from_all(Success{reason.empty(), has_arenas, can_read}, comm, size, run);
  channel->segments_[self].seal();
  const auto is_failure = [](const Success& success) { return success.slots == 0; };
  const auto first_failure = std::find_if(successes.begin(), successes.end(), is_failure) - successes.begin();
  if (first_failure < size) {
    if (first_failure == rank) say_once(reason);
    return nullptr;
  }
  const auto all_have = [&](int32_t Success::*what) {
    return std::all_of(successes.begin(), successes.end(), [&](const Success& success) { return success.*what != 0; });
  };
  if (!all_have(&Success::arenas)) channel->arenas_.clear();
  if (all_have(&Success::remote_reads))
    for (const Card& card : cards) channel->processes_.push_back(card.memory.pid);
  for (size_t member = 0; member < cards.size(); ++member) channel->data_[member] = channel->segments_[member].data();
  if (!has_core_for_each(cards)) Engine::instance().yield_at_once();
  return channel;
}

void Channel::break_off(const std::string& reason) {
  if (!failure_.empty()) return;
  failure_ = reason;
  Failure& own = failure_of(rank_);
  reason.copy(own.reason, sizeof(own.reason) - 1);
  own.is_there.store(1, std::memory_order_release);
}

void Channel::look_for_failures() {
  for (int member = 0; failure_.empty() && member < size(); ++member)
    if (failure_of(member).is_there.load(std::memory_order_acquire) != 0)
      failure_ = "rank " + std::to_string(member) + " of the group says: " + failure_of(member).reason;
}

bool Channel::is_free(uint64_t chunk) {
  if (chunk < finished_by_all_ + kNumSlots) return true;
  uint64_t least = UINT64_MAX;
  for (int member = 0; member < size(); ++member)
    least = std::min(least, finished(member).load(std::memory_order_acquire));
  finished_by_all_ = least;
  return chunk < finished_by_all_ + kNumSlots;
}

}  // namespace mfugaku::comm
