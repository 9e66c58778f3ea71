#include "communicator.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <mutex>
#include <new>

namespace mfugaku::preload {
namespace {

constexpr const char* kMinBytes = "MFUGAKU_PRELOAD_MIN_BYTES";
constexpr const char* kReport = "MFUGAKU_PRELOAD_REPORT";

// Many communicators live for one collective only, and a group costs more than that.
constexpr int kCallsBeforeGroup = 1;

// Kept by MPI as an attribute of the program's communicator, whose duplicates begin anew.
struct State {
  mfugaku_comm_group* group = nullptr;
  bool is_for_mpi = false;
  int num_calls = 0;
};

bool is_on = false;
int key = MPI_KEYVAL_INVALID;
bool has_rules = false;  // of the program's user, for collectives between nodes
int64_t min_bytes = 0;   // 0: built in
Count counts[3];
std::mutex creation;

// Bytes of all blocks together for which ours was faster than Open MPI 4.1.4 with 2 and with 4 ranks of one node
// (`mfugaku bench preload`). All-gathers of sizes in between lost with 2 ranks.
struct Range {
  mfugaku_comm_collective collective;
  int64_t begin, end;
};
constexpr Range kFaster[] = {{MFUGAKU_COMM_ALL_REDUCE, 4 << 10, INT64_MAX},
                             {MFUGAKU_COMM_REDUCE_SCATTER, 8 << 10, INT64_MAX},
                             {MFUGAKU_COMM_ALL_GATHER, 8 << 10, 64 << 10},
                             {MFUGAKU_COMM_ALL_GATHER, 1 << 20, INT64_MAX}};

bool is_wanted(mfugaku_comm_collective collective, int64_t num_bytes) {
  if (min_bytes > 0) return num_bytes >= min_bytes;
  return std::any_of(std::begin(kFaster), std::end(kFaster), [&](const Range& range) {
    return range.collective == collective && range.begin <= num_bytes && num_bytes < range.end;
  });
}

void say(const char* text) {
  std::fprintf(stderr, "mfugaku preload: %s\n", text);
  std::fflush(stderr);
}

// The least value that any member has.
bool agree(MPI_Comm comm, int64_t* values, int count) {
  return PMPI_Allreduce(MPI_IN_PLACE, values, count, MPI_INT64_T, MPI_MIN, comm) == MPI_SUCCESS;
}

// As MFUGAKU_COMM_ARENA_BYTES, 4096 or 64K; false when the text is none.
bool read_bytes(const char* text, int64_t* bytes) {
  char* end = nullptr;
  const long long value = std::strtoll(text, &end, 10);
  int shift = 0;
  for (const char* unit = "KMGT"; *unit != '\0'; ++unit) {
    shift += 10;
    if (end != text && end[0] == *unit && end[1] == '\0') {
      *bytes = value << shift;
      return value >= 0 && value < (1ll << 20);
    }
  }
  *bytes = value;
  return end != text && *end == '\0' && value >= 0;
}

bool read_environment() {
  const char* bytes = std::getenv(kMinBytes);
  if (bytes != nullptr && !read_bytes(bytes, &min_bytes)) {
    say("MFUGAKU_PRELOAD_MIN_BYTES is no number of bytes like 4096 or 64K; MPI's own collectives run instead.");
    return false;
  }
  const char* rules = std::getenv("MFUGAKU_COMM_ALGORITHM");
  has_rules = rules != nullptr && *rules != '\0';
  // Programs of MPI may come to a collective hours apart; who wants a limit says so.
  if (std::getenv("MFUGAKU_COMM_TIMEOUT_S") == nullptr) mfugaku_comm_set("MFUGAKU_COMM_TIMEOUT_S", "1e9");
  // All calls wait, and who waits drives.
  mfugaku_comm_set("MFUGAKU_COMM_PROGRESS_THREAD", "0");
  mfugaku_comm_set("MFUGAKU_COMM_PROGRESS_CORE", "-1");
  if (mfugaku_comm_check_settings() == MFUGAKU_COMM_OK) return true;
  std::fprintf(stderr, "mfugaku preload: %s MPI's own collectives run instead.\n", mfugaku_comm_last_error());
  return false;
}

int forget(MPI_Comm, int, void* value, void*) {
  const Inside inside;
  State* state = static_cast<State*>(value);
  mfugaku_comm_group_free(&state->group);
  delete state;
  return MPI_SUCCESS;
}

State* state_of(MPI_Comm comm) {
  State* state = nullptr;
  int is_there = 0;
  if (PMPI_Comm_get_attr(comm, key, &state, &is_there) != MPI_SUCCESS) return nullptr;
  if (is_there != 0) return state;
  state = new (std::nothrow) State;
  if (state == nullptr || PMPI_Comm_set_attr(comm, key, state) != MPI_SUCCESS) std::abort();  // others would wait
  int joins_two = 0, size = 0;
  state->is_for_mpi = PMPI_Comm_test_inter(comm, &joins_two) != MPI_SUCCESS || joins_two != 0 ||
                      PMPI_Comm_size(comm, &size) != MPI_SUCCESS || size < 2;
  return state;
}

// All members come here together. Two threads that make groups of different communicators at a time could wait for each
// other across ranks, so who finds another at it gives up for this time, and the others with it.
void create_group(MPI_Comm comm, State* state) {
  static std::atomic<int64_t> next_number{0};
  const std::unique_lock<std::mutex> lock(creation, std::try_to_lock);
  int64_t agreed[] = {lock.owns_lock() ? 1 : 0, -next_number};
  if (!agree(comm, agreed, 2) || agreed[0] == 0) return;
  next_number = 1 - agreed[1];
  char name[64];
  std::snprintf(name, sizeof(name), "communicator %lld", static_cast<long long>(-agreed[1]));
  const int status = mfugaku_comm_group_create(MPI_Comm_c2f(comm), name, &state->group);
  if (status != MFUGAKU_COMM_OK && status != MFUGAKU_COMM_BAD_ARGUMENT) say(mfugaku_comm_last_error());
  // Between nodes MPI knows more of the network than the rules that are built in here.
  int shares_memory = 0;
  if (status == MFUGAKU_COMM_OK) mfugaku_comm_group_shares_memory(state->group, &shares_memory);
  int64_t have_all = status == MFUGAKU_COMM_OK && (shares_memory != 0 || has_rules) ? 1 : 0;
  if (agree(comm, &have_all, 1) && have_all != 0) return;
  mfugaku_comm_group_free(&state->group);
  state->is_for_mpi = true;
}

}  // namespace

thread_local int Inside::depth = 0;

Count& count_of(mfugaku_comm_collective collective) { return counts[collective]; }

void start() {
  const Inside inside;
  const bool can_start = read_environment();  // sets the others, too
  int64_t agreed[] = {can_start, -min_bytes, has_rules};
  if (!agree(MPI_COMM_WORLD, agreed, 3) || agreed[0] == 0) return;
  min_bytes = -agreed[1];
  has_rules = agreed[2] != 0;
  int64_t has_started = 1;
  if (mfugaku_comm_start() != MFUGAKU_COMM_OK) {
    std::fprintf(stderr, "mfugaku preload: %s. MPI's own collectives run instead.\n", mfugaku_comm_last_error());
    has_started = 0;
  }
  if (PMPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, forget, &key, nullptr) != MPI_SUCCESS) has_started = 0;
  is_on = agree(MPI_COMM_WORLD, &has_started, 1) && has_started != 0;
}

void report() {
  const char* wish = std::getenv(kReport);
  int rank = 0;
  if (!is_on || wish == nullptr || *wish == '\0' || *wish == '0') return;
  if (PMPI_Comm_rank(MPI_COMM_WORLD, &rank) != MPI_SUCCESS || rank != 0) return;
  static const char* const names[] = {"MPI_Allreduce", "MPI_Reduce_scatter_block", "MPI_Allgather"};
  for (int i = 0; i < 3; ++i)
    std::fprintf(stderr, "mfugaku preload: rank 0: %s: %lld of %lld calls served, %lld bytes\n", names[i],
                 static_cast<long long>(counts[i].num_served), static_cast<long long>(counts[i].num_calls),
                 static_cast<long long>(counts[i].num_bytes_served));
  std::fflush(stderr);
}

mfugaku_comm_group* group_for(MPI_Comm comm, mfugaku_comm_collective collective, int64_t num_bytes, int type) {
  count_of(collective).num_calls.fetch_add(1, std::memory_order_relaxed);
  if (!is_on || comm == MPI_COMM_NULL || num_bytes <= 0 || !is_wanted(collective, num_bytes)) return nullptr;
  const Inside inside;
  State* state = state_of(comm);
  if (state == nullptr || state->is_for_mpi || state->num_calls++ < kCallsBeforeGroup) return nullptr;
  if (state->group == nullptr) create_group(comm, state);
  if (state->group == nullptr) return nullptr;
  int goes_by_mpi = 1;
  mfugaku_comm_group_goes_by_mpi(state->group, collective, num_bytes, type, &goes_by_mpi);
  if (goes_by_mpi != 0) return nullptr;
  count_of(collective).num_served.fetch_add(1, std::memory_order_relaxed);
  count_of(collective).num_bytes_served.fetch_add(num_bytes, std::memory_order_relaxed);
  return state->group;
}

}  // namespace mfugaku::preload
