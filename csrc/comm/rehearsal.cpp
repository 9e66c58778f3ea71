#include "rehearsal.h"

#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <stdexcept>
#include <tuple>

#include "combine.h"

namespace mfugaku::comm {
namespace {

using schedule::Buffer;
using schedule::Collective;
using schedule::Message;
using schedule::Place;
using schedule::Schedule;
using schedule::Strand;
using schedule::Task;
using schedule::Work;

// Messages that were sent and not yet received, by sender, receiver and strand.
using Mail = std::map<std::tuple<int, int, int>, std::deque<std::vector<char>>>;

class Rank {
 public:
  Rank(const Task& task, const Schedule& schedule, const std::vector<float>& input, const Wire& wire)
      : rank_(task.rank),
        schedule_(schedule),
        wire_(wire),
        input_(input),
        output_(task.collective == Collective::ReduceScatter ? static_cast<size_t>(task.counts[
                                                                   static_cast<size_t>(task.rank)])
                                                             : input.size()),
        elements_(static_cast<size_t>(schedule.num_scratch_elements)),
        sums_(static_cast<size_t>(schedule.num_scratch_partials)),
        running_(static_cast<size_t>(schedule.num_strands)) {}

  // Goes as far as messages let it; true when it got anywhere.
  bool advance(Mail& mail) {
    bool has_moved = false;
    for (int i = first_open_; i < schedule_.num_strands && may_begin(i); ++i) {
      Running& state = running_[static_cast<size_t>(i)];
      if (!state.is_begun) state.strand = schedule_.build_strand(i), state.is_begun = true;
      while (state.round < state.strand.num_rounds() && run_round(i, state, mail)) has_moved = true;
      if (!state.is_over && state.round == state.strand.num_rounds()) state.is_over = true, ++num_over_;
    }
    while (first_open_ < schedule_.num_strands && running_[static_cast<size_t>(first_open_)].is_over)
      running_[static_cast<size_t>(first_open_++)].strand = {};
    return has_moved;
  }
  bool is_over() const { return num_over_ == schedule_.num_strands; }
  std::vector<float> take_output() { return std::move(output_); }

 private:
  struct Running {
    Strand strand;
    int round = 0;
    bool is_begun = false, has_sent = false, is_over = false;
    size_t next_receive = 0;
  };

  bool may_begin(int strand) const {
    const schedule::Phase phase = schedule_.phase_of(strand);
    const int before = strand - phase.window;
    return before < phase.first_strand ? num_over_ >= phase.first_strand
                                       : running_[static_cast<size_t>(before)].is_over;
  }
  bool may_begin_round(int strand, int after) const {
    const schedule::Phase phase = schedule_.phase_of(strand);
    const int before = strand - phase.stride;
    return after == 0 || before < phase.first_strand || running_[static_cast<size_t>(before)].is_over ||
           running_[static_cast<size_t>(before)].round >= after;
  }

  bool run_round(int strand, Running& state, Mail& mail) {
    const size_t end = state.strand.round(state.round).end_of_messages;
    if (!state.has_sent) {
      if (!may_begin_round(strand, state.strand.round(state.round).after)) return false;
      for (size_t i = state.strand.begin_of_messages(state.round); i < end; ++i)
        if (const Message& message = state.strand.messages()[i]; message.is_send)
          mail[{rank_, message.peer, strand}].push_back(packed(message));
      state.has_sent = true;
      state.next_receive = state.strand.begin_of_messages(state.round);
    }
    for (; state.next_receive < end; ++state.next_receive) {
      const Message& message = state.strand.messages()[state.next_receive];
      if (message.is_send) continue;
      const auto found = mail.find({message.peer, rank_, strand});
      if (found == mail.end() || found->second.empty()) return false;
      unpack(found->second.front(), message);
      found->second.pop_front();
    }
    for (size_t i = state.strand.begin_of_work(state.round); i < state.strand.round(state.round).end_of_work; ++i)
      work(state.strand.work()[i]);
    state.has_sent = false;
    ++state.round;
    return true;
  }

  float* at(const Place& place) {
    switch (place.buffer) {
      case Buffer::Input: return const_cast<float*>(input_.data()) + place.begin;
      case Buffer::Output: return output_.data() + place.begin;
      case Buffer::Elements: return elements_.data() + place.begin;
      case Buffer::Partials: break;
    }
    return sums_.data() + place.begin;
  }
  std::vector<char> packed(const Message& message) {
    std::vector<char> bytes(static_cast<size_t>(message.count * size_of(wire_.type)));
    if (wire_.is_narrow())
      wire_.pack(at(message.place), message.count, bytes.data());
    else
      std::memcpy(bytes.data(), at(message.place), bytes.size());
    return bytes;
  }
  void unpack(const std::vector<char>& bytes, const Message& message) {
    if (static_cast<int64_t>(bytes.size()) != message.count * size_of(wire_.type))
      throw std::logic_error("a message has another length than its receiver waits for");
    if (wire_.is_narrow())
      wire_.unpack(bytes.data(), message.count, at(message.place));
    else
      std::memcpy(at(message.place), bytes.data(), bytes.size());
  }
  void work(const Work& work) {
    float* const out = at(work.out);
    if (work.is_copy) {
      std::memmove(out, at(work.first), static_cast<size_t>(work.count) * sizeof(float));
      return;
    }
    combine(DataType::Float32, Reduction::Sum, {at(work.first), false}, {at(work.second), false}, work.count, 1.0, out,
            false);
    if (wire_.rounds_results && work.out.buffer == Buffer::Output) wire_.round(out, work.count);
  }

  int rank_;
  Schedule schedule_;
  Wire wire_;
  const std::vector<float>& input_;
  std::vector<float> output_, elements_, sums_;
  std::vector<Running> running_;
  int first_open_ = 0, num_over_ = 0;
};

// Standard normal numbers, the same on every machine as far as its logarithm and cosine are.
class Normal {
 public:
  float next() {
    const double u = uniform(), v = uniform();
    return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v));
  }

 private:
  double uniform() {  // splitmix64; above 0
    state_ += 0x9e3779b97f4a7c15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (static_cast<double>((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
  }
  uint64_t state_ = 1;
};

}  // namespace

std::vector<std::vector<float>> rehearse_sum(Collective collective, const std::vector<std::vector<float>>& inputs,
                                             const std::function<Schedule(const Task&)>& build, const Wire& wire) {
  const auto size = static_cast<int>(inputs.size());
  std::vector<Rank> ranks;
  for (int rank = 0; rank < size; ++rank) {
    Task task = schedule::all_reduce_task(rank, size, static_cast<int64_t>(inputs[0].size()));
    task.collective = collective;
    ranks.emplace_back(task, build(task), inputs[static_cast<size_t>(rank)], wire);
  }
  Mail mail;
  bool is_over = false;
  while (!is_over) {
    bool has_moved = false;
    is_over = true;
    for (Rank& rank : ranks) {
      has_moved |= rank.advance(mail);
      is_over &= rank.is_over();
    }
    if (!is_over && !has_moved) throw std::logic_error("the ranks wait for each other");
  }
  std::vector<std::vector<float>> results;
  for (Rank& rank : ranks) results.push_back(rank.take_output());
  return results;
}

SumError error_of_all_reduce(int num_ranks, int64_t count, const std::function<Schedule(const Task&)>& build,
                             DataType wire) {
  Normal normal;
  std::vector<std::vector<float>> inputs(static_cast<size_t>(num_ranks));
  std::vector<double> sums(static_cast<size_t>(count), 0.0);
  for (auto& input : inputs)
    for (double& sum : sums) {
      input.push_back(normal.next());
      sum += static_cast<double>(input.back());
    }
  const auto results = rehearse_sum(Collective::AllReduce, inputs, build, {wire, is_half(wire)});
  double square_of_sums = 0, square_of_errors = 0, largest = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    const double error = std::fabs(static_cast<double>(results[0][i]) - sums[i]);
    largest = std::max(largest, error);
    square_of_errors += error * error;
    square_of_sums += sums[i] * sums[i];
  }
  const double scale = std::sqrt(square_of_sums / static_cast<double>(count));
  return {largest / scale, std::sqrt(square_of_errors / static_cast<double>(count)) / scale};
}

}  // namespace mfugaku::comm
