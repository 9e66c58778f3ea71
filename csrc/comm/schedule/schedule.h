// What one rank does in a collective, as data: a pure function of rank, size, counts and topology, with no MPI in it.
//
// A schedule is a number of strands. A strand is a sequence of rounds; in a round all messages are posted together,
// and when they are complete its local work is done, in the order it was added. Strands are independent but for two
// rules: strand i begins when strand i - window is over (it may then use that one's scratch), and a round with
// `after` = n > 0 begins when strand i - stride has finished n rounds, or is over. The strands are alike on all ranks.
// A send matches the receive of the same strand, in order, of the same pair of ranks. Where a schedule has phases, the
// rules hold within each, and strands of a phase begin when all of those before it are over.
//
// Counts are in elements. Input and Output hold elements of the collective's type and may be the same memory where
// they hold the same data: the whole vector of an all-reduce, a rank's own block of a reduce-scatter or an all-gather.
// Sums under way are Partials, of the type that sums are accumulated in (float32 for the 16-bit floats); a reduction
// into Output is the last one of an element: scaled for averages and rounded, once.
//
// Every sum is fixed by the schedule, operands and order, so results are the same bits run after run whatever the
// timing. Each element is summed up by one rank or, in recursive doubling, by the same tree on all of them, so an
// all-reduce has the same bits on all ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace mfugaku::comm::schedule {

enum class Buffer : uint8_t {
  Input,     // this rank's contribution; never written through this name
  Output,    // the result
  Elements,  // scratch for elements
  Partials,  // scratch for sums under way
};

struct Place {
  Buffer buffer;
  int64_t begin;
  Place operator+(int64_t offset) const { return {buffer, begin + offset}; }
};

struct Message {
  Place place;
  int64_t count;
  int peer;
  bool is_send;
};

// out[i] = first[i] op second[i], or a copy of `first`; `out` may be the very same place as an operand. A copy is of
// elements to elements or of sums under way to sums under way.
struct Work {
  Place out, first, second;
  int64_t count;
  bool is_copy;
};

struct Round {
  int after = 0;  // rounds of the strand `stride` before this one that must be over
  size_t end_of_messages = 0, end_of_work = 0;
};

class Strand {
 public:
  void begin_round(int after = 0) { rounds_.push_back({after, messages_.size(), work_.size()}); }
  // Empty messages and empty work are left out; both sides know the count.
  void send(int peer, Place from, int64_t count) { add({from, count, peer, true}); }
  void receive(int peer, Place to, int64_t count) { add({to, count, peer, false}); }
  void reduce(Place out, Place first, Place second, int64_t count) { add({out, first, second, count, false}); }
  void copy(Place out, Place from, int64_t count) { add({out, from, from, count, true}); }

  int num_rounds() const { return static_cast<int>(rounds_.size()); }
  const Round& round(int i) const { return rounds_[static_cast<size_t>(i)]; }
  // Ranges of a round's messages and work in messages() and work().
  size_t begin_of_messages(int i) const { return i == 0 ? 0 : round(i - 1).end_of_messages; }
  size_t begin_of_work(int i) const { return i == 0 ? 0 : round(i - 1).end_of_work; }
  const std::vector<Message>& messages() const { return messages_; }
  const std::vector<Work>& work() const { return work_; }

 private:
  void add(const Message& message) {
    if (message.count == 0) return;
    messages_.push_back(message);
    rounds_.back().end_of_messages = messages_.size();
  }
  void add(const Work& work) {
    if (work.count == 0) return;
    work_.push_back(work);
    rounds_.back().end_of_work = work_.size();
  }

  std::vector<Message> messages_;
  std::vector<Work> work_;
  std::vector<Round> rounds_;
};

struct Phase {
  int first_strand, num_strands;
  int window, stride;
};

struct Schedule {
  int num_strands = 1;
  int window = 1;  // with phases, the widest of theirs
  int stride = 1;
  std::vector<Phase> phases;  // none: one of all strands
  int64_t num_scratch_elements = 0, num_scratch_partials = 0;
  std::function<Strand(int)> build_strand;  // built when a strand begins: long schedules need not stand in memory

  Phase phase_of(int strand) const {
    for (const Phase& phase : phases)
      if (strand < phase.first_strand + phase.num_strands) return phase;
    return {0, num_strands, window, stride};
  }
};

enum class Collective : uint8_t { AllReduce, ReduceScatter, AllGather };

// What is to be done, as one rank sees it. `counts[r]` is the length of rank r's block in a vector of all blocks: what
// rank r has in the end of a reduce-scatter, and gives to an all-gather. An all-reduce may have its blocks cut at will.
struct Task {
  Collective collective;
  int rank;
  std::vector<int64_t> counts;
  int size() const { return static_cast<int>(counts.size()); }
};

// The task of an all-reduce of `count` elements, in blocks of almost the same length.
Task all_reduce_task(int rank, int size, int64_t count);

// begins[i]: where block i begins; the last of the size + 1 entries is the total.
std::vector<int64_t> begins_of(const std::vector<int64_t>& counts);

// Where part i of `num_parts` almost equal parts begins.
inline int64_t cut(int64_t count, int64_t num_parts, int64_t i) {
  return count / num_parts * i + count % num_parts * i / num_parts;
}

}  // namespace mfugaku::comm::schedule
