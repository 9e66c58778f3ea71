#include "flight.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace mfugaku::comm {
namespace {

constexpr char kMagic[16] = {'m', 'f', 'u', 'g', 'a', 'k', 'u', ' ', 'f', 'l', 'i', 'g', 'h', 't', ' ', '1'};
constexpr uint32_t kHeaderBytes = 4096, kNumGroups = 128, kNumSlots = 1024;

template <size_t N>
void put(char (&field)[N], const std::string& text) {
  std::snprintf(field, N, "%s", text.c_str());
}

double epoch_now_s() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// {0, 2, 4, 9} -> "0-4:2,9": first, last and step of each run.
std::string describe_ranks(const std::vector<int>& ranks) {
  std::string text;
  for (size_t begin = 0; begin < ranks.size();) {
    size_t end = begin + 1;
    const int step = end < ranks.size() ? ranks[end] - ranks[begin] : 0;
    while (step > 0 && end < ranks.size() && ranks[end] - ranks[end - 1] == step) ++end;
    if (end - begin < 3) end = begin + 1;
    if (!text.empty()) text += ',';
    text += std::to_string(ranks[begin]);
    if (end - begin > 1) text += '-' + std::to_string(ranks[end - 1]);
    if (end - begin > 1 && step > 1) text += ':' + std::to_string(step);
    begin = end;
  }
  return text;
}

}  // namespace

struct Flight::Header {
  char magic[16];
  uint32_t header_bytes, rank, size;
  int32_t pid;
  uint32_t num_slots, slot_bytes, num_group_slots, group_bytes;
  double monotonic_s, epoch_s;  // of one moment: turns the first kind of time into the second
  uint64_t num_begun;
  double beat_s;
  uint32_t ending, num_groups;
  char host[64];
  char boot_id[40];  // of the running kernel: tells whether `pid` is a process of the reader's machine
};

struct Flight::GroupRecord {
  char name[128];
  char description[128];
  int32_t size, rank;
  char members[760];  // MPI ranks as in "0-4:2,9"; "" when that is longer
};

struct Flight::Slot {
  uint64_t number;  // counts from 1; 0 while the slot is being written
  uint64_t sequence;
  int64_t num_bytes;
  double start_s, wait_start_s, end_s;  // 0: not yet
  uint32_t group;
  int32_t peer;
  uint32_t is_over, has_failed;
  char name[32];
  char way[32];
};

void Flight::open(const std::string& path, int rank, int size, int pid) {
  static_assert(sizeof(Header) == 192 && sizeof(GroupRecord) == 1024 && sizeof(Slot) == 128);
  const size_t num_bytes = kHeaderBytes + kNumGroups * sizeof(GroupRecord) + kNumSlots * sizeof(Slot);
  // A new file, not the old one cut: a reader may have that mapped.
  unlink(path.c_str());
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor < 0) throw std::runtime_error(path + ": " + std::strerror(errno));
  const int refusal = posix_fallocate(descriptor, 0, static_cast<off_t>(num_bytes));
  void* data = refusal == 0 ? mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0) : MAP_FAILED;
  const int reason = refusal != 0 ? refusal : errno;
  close(descriptor);
  if (data == MAP_FAILED) {
    unlink(path.c_str());
    throw std::runtime_error(path + ": " + std::strerror(reason));
  }
  header_ = static_cast<Header*>(data);
  group_records_ = reinterpret_cast<GroupRecord*>(static_cast<char*>(data) + kHeaderBytes);
  slots_ = reinterpret_cast<Slot*>(group_records_ + kNumGroups);
  header_->header_bytes = kHeaderBytes;
  header_->rank = static_cast<uint32_t>(rank), header_->size = static_cast<uint32_t>(size), header_->pid = pid;
  header_->num_slots = kNumSlots, header_->slot_bytes = sizeof(Slot);
  header_->num_group_slots = kNumGroups, header_->group_bytes = sizeof(GroupRecord);
  header_->monotonic_s = now_s(), header_->epoch_s = epoch_now_s();
  header_->beat_s = header_->monotonic_s;
  gethostname(header_->host, sizeof(header_->host) - 1);
  std::ifstream("/proc/sys/kernel/random/boot_id").getline(header_->boot_id, sizeof(header_->boot_id));
  for (size_t number = 0; number < groups_.size(); ++number) write_group(number);
  std::memcpy(header_->magic, kMagic, sizeof(kMagic));  // last: from here on it is a whole file
}

uint32_t Flight::add_group(const std::string& name, const std::vector<int>& mpi_ranks, int rank) {
  groups_.push_back({name, "", describe_ranks(mpi_ranks), static_cast<int>(mpi_ranks.size()), rank});
  write_group(groups_.size() - 1);
  return static_cast<uint32_t>(groups_.size() - 1);
}

void Flight::describe_group(const std::string& name, const std::string& description) {
  for (size_t number = 0; number < groups_.size(); ++number) {
    if (groups_[number].name != name) continue;
    groups_[number].description = description;
    write_group(number);
  }
}

void Flight::write_group(size_t number) {
  if (!is_open() || number >= kNumGroups) return;
  GroupRecord& record = group_records_[number];
  const KnownGroup& group = groups_[number];
  put(record.name, group.name);
  put(record.description, group.description);
  record.size = group.size, record.rank = group.rank;
  if (group.members.size() < sizeof(record.members)) put(record.members, group.members);
  if (header_->num_groups <= number) header_->num_groups = static_cast<uint32_t>(number + 1);
}

Flight::Slot* Flight::find(uint64_t number) const {
  if (!is_open() || number == 0) return nullptr;
  Slot& slot = slots_[(number - 1) % kNumSlots];
  return slot.number == number ? &slot : nullptr;
}

void Flight::begin(Operation& operation) {
  if (!is_open()) return;
  operation.flight_number = header_->num_begun + 1;
  Slot& slot = slots_[header_->num_begun % kNumSlots];
  slot = Slot{};
  slot.sequence = operation.sequence, slot.num_bytes = operation.num_bytes, slot.start_s = operation.start_s;
  slot.group = operation.group_number, slot.peer = operation.peer;
  put(slot.name, operation.name);
  put(slot.way, operation.way);
  slot.number = operation.flight_number;
  header_->num_begun = operation.flight_number;
  header_->beat_s = operation.start_s;
}

void Flight::wait(const Operation& operation, double time_s) {
  if (!is_open()) return;
  Slot* slot = find(operation.flight_number);
  if (slot != nullptr && slot->wait_start_s == 0) slot->wait_start_s = time_s;
  header_->beat_s = time_s;
}

void Flight::end(const Operation& operation) {
  Slot* slot = find(operation.flight_number);
  if (slot == nullptr) return;
  slot->end_s = operation.end_s;
  put(slot->way, operation.way);
  slot->has_failed = !operation.error.empty();
  slot->is_over = 1;
  header_->beat_s = operation.end_s;
}

void Flight::finish(Ending ending) {
  if (is_open()) header_->ending = static_cast<uint32_t>(ending);
}

}  // namespace mfugaku::comm
