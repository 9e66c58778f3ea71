// A program of the MPI backend's core without torch: checks that all ranks of a job go through together, and checks of
// what one process holds. tests/csrc/test_comm_program.py builds and starts it, plainly and under sanitizers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/group.h"

namespace mfugaku::tests {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool is_so, const std::string& what) {
  if (!is_so) throw Failure(what);
}

// Throws Failure unless `body` throws an Error whose text contains `words`.
template <typename Error>
void require_error(const std::function<void()>& body, const std::string& words) {
  try {
    body();
  } catch (const Error& error) {
    return require(std::string(error.what()).find(words) != std::string::npos,
                   "expected '" + words + "', but was told: " + error.what());
  }
  throw Failure("expected '" + words + "', but nothing was refused");
}

// The same numbers on every machine (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  // 0 ... end - 1.
  int64_t below(int64_t end) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(end)); }
  template <typename T>
  T choose(const std::vector<T>& from) {
    return from[static_cast<size_t>(below(static_cast<int64_t>(from.size())))];
  }
  template <typename T>
  void shuffle(std::vector<T>& values) {
    for (size_t i = values.size(); i > 1; --i)
      std::swap(values[i - 1], values[static_cast<size_t>(below(static_cast<int64_t>(i)))]);
  }

 private:
  uint64_t state_;
};

struct Options {
  bool progress_thread = false, shared_memory = true;
  int progress_core = -1;
  int num_members = 0;  // of a channel whose members are threads of one process; 0: ranks of a job
  int64_t num_rounds = 100;
  uint64_t seed = 1;
  double timeout_s = 60;
  std::string plant;                // the fault to be found; empty: none
  std::string kill;                 // the collective in which the last rank dies; empty: none
  std::vector<std::string> checks;  // names; empty: all
};

// A new group of these ranks of MPI_COMM_WORLD, of which this process is one. Collective over them.
std::shared_ptr<comm::Group> make_group(const std::vector<int>& mpi_ranks, const Options& options);
std::vector<int> all_ranks();

// Checks of a job, each collective over it.
void check_random_collectives(const Options& options);
void check_schedules(const Options& options);
void check_crossed_collectives(const Options& options);
void check_callbacks(const Options& options);
void check_many_threads(const Options& options);
void check_pokes(const Options& options);
void check_messages(const Options& options);
void check_flight(const Options& options);
void check_misuse(const Options& options);
void check_disagreements(const Options& options);
// That no two threads were inside MPI at the same time so far. Counted in mpi_entries.cpp for the whole process.
void check_mpi_entries(const Options& options);

// Checks of one process.
void check_thread_members(const Options& options);
void check_arena(const Options& options);

// The last rank dies in the collective options.kill; all others must be told in time, with their memory intact.
void survive(const Options& options);

// Does something wrong on purpose, for a sanitizer to find. False when there is no such fault.
bool plant(const Options& options);

}  // namespace mfugaku::tests
