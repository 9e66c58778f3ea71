// Runs a schedule on all ranks at once, without MPI and on numbers that show where they came from.
//
// Whatever may happen next happens in an order drawn at random. A send is over only when it has been received, as if
// no message were ever buffered, and holds its memory until then; what a schedule does to memory that is in use, or
// has never been written, is a fault. Contributions are random 64-bit numbers. Added up modulo 2^64 they show that each
// rank's is in the result exactly once; combined in a way that depends on order and brackets they show that results do
// not depend on timing, and for all-reduce that they are the same sums on all ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/schedule/schedule.h"

namespace mfugaku::tests {

using comm::schedule::Schedule;
using comm::schedule::Task;

enum class Algebra { Sum, Tree };

struct WorldResult {
  std::string fault;                           // empty when all went well
  std::vector<std::vector<uint64_t>> outputs;  // by rank
  int64_t num_messages = 0;
  std::vector<int64_t> sent;  // elements, by rank
};

// `task` as rank 0 sees it; `build` gives the schedule of each rank. With `in_place`, Input and Output of a rank are
// the same memory where they hold the same data.
class World {
 public:
  using Build = std::function<Schedule(const Task&)>;
  World(Task task, const Build& build, bool in_place, Algebra algebra, uint64_t seed);
  WorldResult run();

  static uint64_t contribution(int rank, int64_t element);

 private:
  struct Running {
    comm::schedule::Strand strand;
    int index = 0, rounds_over = 0, open_messages = 0;
    bool is_posted = false;
  };
  struct Cells {
    std::vector<uint64_t> values;
    std::vector<int> readers;    // of messages under way
    std::vector<char> is_written_to;  // by a message under way
    std::vector<char> is_known;
    explicit Cells(int64_t count);
  };
  struct Rank {
    Schedule schedule;
    std::vector<Running> running;  // by slot of the window
    std::vector<int> rounds_over;  // by strand
    std::vector<char> is_over;     // by strand
    int num_begun = 0, num_over = 0;
    std::vector<Cells> spaces;     // vector of all blocks or own, the other, elements, partials
  };
  struct Posted {
    int rank, slot;
    comm::schedule::Place place;
    int64_t count;
  };
  struct Place {
    Cells* cells;
    int64_t begin;
  };

  void begin_strands(int rank);
  void look_for_rounds(int rank);
  void post(int rank, int slot);
  void pass(const Posted& send, const Posted& receive);
  void finish_message(int rank, int slot);
  void finish_round(int rank, int slot);
  void work(int rank, const comm::schedule::Work& work);
  Place resolve(int rank, comm::schedule::Place place, int64_t count);
  void fail(int rank, const std::string& what);
  uint64_t combine(uint64_t a, uint64_t b) const;
  void check_outputs(WorldResult& result);

  Task task_;
  std::vector<int64_t> begins_;
  bool in_place_;
  Algebra algebra_;
  uint64_t random_;
  std::vector<Rank> ranks_;
  std::string fault_;
  struct Action {
    bool is_pass;
    Posted first, second;
  };
  std::vector<Action> actions_;
  struct Waiting;
  std::shared_ptr<Waiting> waiting_;
  WorldResult result_;
};

}  // namespace mfugaku::tests
