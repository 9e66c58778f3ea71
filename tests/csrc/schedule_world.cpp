#include "schedule_world.h"

#include <deque>
#include <memory>
#include <unordered_map>

#include "support.h"

namespace mfugaku::tests {

using comm::schedule::begins_of;
using comm::schedule::Buffer;
using comm::schedule::Collective;
using comm::schedule::Message;
using comm::schedule::Phase;

// Messages posted on one side only, by sender, receiver and strand, in their order.
struct World::Waiting {
  struct Queues {
    std::deque<Posted> sends, receives;
  };
  std::unordered_map<uint64_t, Queues> by_channel;
  static uint64_t channel(int from, int to, int strand) {
    return (static_cast<uint64_t>(from) << 44) | (static_cast<uint64_t>(to) << 24) | static_cast<uint64_t>(strand);
  }
};

World::Cells::Cells(int64_t count)
    : values(static_cast<size_t>(count)),
      readers(values.size()),
      is_written_to(values.size()),
      is_known(values.size()) {}

uint64_t World::contribution(int rank, int64_t element) {
  return Random(static_cast<uint64_t>(rank) * 0x10001 + static_cast<uint64_t>(element) * 0x9E3779B1).bits();
}

World::World(Task task, const Build& build, bool in_place, Algebra algebra, uint64_t seed)
    : task_(std::move(task)),
      begins_(begins_of(task_.counts)),
      in_place_(in_place),
      algebra_(algebra),
      random_(seed),
      waiting_(std::make_shared<Waiting>()) {
  result_.sent.assign(task_.counts.size(), 0);
  for (int r = 0; r < task_.size(); ++r) {
    Task task_of_rank = task_;
    task_of_rank.rank = r;
    Rank rank;
    rank.schedule = build(task_of_rank);
    rank.running.resize(static_cast<size_t>(rank.schedule.window));
    rank.rounds_over.resize(static_cast<size_t>(rank.schedule.num_strands));
    rank.is_over.resize(rank.rounds_over.size());
    const int64_t whole = begins_.back(), own = task_.counts[static_cast<size_t>(r)];
    const bool is_gather = task_.collective == Collective::AllGather;
    const bool is_scatter = task_.collective == Collective::ReduceScatter;
    const int64_t inputs = is_gather ? own : whole, outputs = is_scatter ? own : whole;
    rank.spaces = {Cells(inputs), Cells(outputs), Cells(rank.schedule.num_scratch_elements),
                   Cells(rank.schedule.num_scratch_partials)};
    ranks_.push_back(std::move(rank));
    const int64_t first_element = is_gather ? begins_[static_cast<size_t>(r)] : 0;
    for (int64_t i = 0; i < inputs; ++i) {
      const Place place = resolve(r, {Buffer::Input, i}, 1);
      place.cells->values[static_cast<size_t>(place.begin)] = contribution(r, first_element + i);
      place.cells->is_known[static_cast<size_t>(place.begin)] = 1;
    }
  }
}

void World::fail(int rank, const std::string& what) {
  if (fault_.empty()) fault_ = "rank " + std::to_string(rank) + ": " + what;
}

World::Place World::resolve(int r, comm::schedule::Place place, int64_t count) {
  Rank& rank = ranks_[static_cast<size_t>(r)];
  const int64_t own_begin = begins_[static_cast<size_t>(r)];
  size_t space = static_cast<size_t>(place.buffer);
  if (in_place_ && place.buffer == Buffer::Input && task_.collective == Collective::AllReduce) space = 1;
  if (in_place_ && place.buffer == Buffer::Input && task_.collective == Collective::AllGather)
    space = 1, place.begin += own_begin;
  if (in_place_ && place.buffer == Buffer::Output && task_.collective == Collective::ReduceScatter)
    space = 0, place.begin += own_begin;
  Cells& cells = rank.spaces[space];
  if (place.begin < 0 || place.begin + count > static_cast<int64_t>(cells.values.size())) {
    fail(r, "outside of buffer " + std::to_string(space) + ": " + std::to_string(place.begin) + " + " +
                std::to_string(count) + " of " + std::to_string(cells.values.size()));
    static Cells nowhere(0);
    nowhere = Cells(count);
    return {&nowhere, 0};
  }
  return {&cells, place.begin};
}

uint64_t World::combine(uint64_t a, uint64_t b) const {
  if (algebra_ == Algebra::Sum) return a + b;
  return Random(a * 0xD6E8FEB86659FD93ull + (b ^ (b >> 31)) * 3).bits();
}

void World::begin_strands(int r) {
  Rank& rank = ranks_[static_cast<size_t>(r)];
  while (rank.num_begun < rank.schedule.num_strands) {
    const int index = rank.num_begun;
    const Phase phase = rank.schedule.phase_of(index);
    const int before = index - phase.window;
    if (before < phase.first_strand ? rank.num_over < phase.first_strand : !rank.is_over[static_cast<size_t>(before)])
      break;
    Running& running = rank.running[static_cast<size_t>(index % rank.schedule.window)];
    running = Running{rank.schedule.build_strand(index), index, 0, 0, false};
    ++rank.num_begun;
    if (running.strand.num_rounds() == 0) rank.is_over[static_cast<size_t>(index)] = 1, ++rank.num_over;
  }
}

void World::look_for_rounds(int r) {
  Rank& rank = ranks_[static_cast<size_t>(r)];
  begin_strands(r);
  for (size_t slot = 0; slot < rank.running.size(); ++slot) {
    Running& running = rank.running[slot];
    if (running.is_posted || running.rounds_over == running.strand.num_rounds()) continue;
    const Phase phase = rank.schedule.phase_of(running.index);
    const int before = running.index - phase.stride, after = running.strand.round(running.rounds_over).after;
    if (after > 0 && before >= phase.first_strand && !rank.is_over[static_cast<size_t>(before)] &&
        rank.rounds_over[static_cast<size_t>(before)] < after)
      continue;
    running.is_posted = true;
    actions_.push_back({false, {r, static_cast<int>(slot), {Buffer::Input, 0}, 0}, {}});
  }
}

void World::post(int r, int slot) {
  Running& running = ranks_[static_cast<size_t>(r)].running[static_cast<size_t>(slot)];
  const int round = running.rounds_over, index = running.index;
  const size_t begin = running.strand.begin_of_messages(round), end = running.strand.round(round).end_of_messages;
  running.open_messages = static_cast<int>(end - begin);
  if (begin == end) return finish_round(r, slot);
  for (size_t i = begin; i < end; ++i) {
    const Message& message = running.strand.messages()[i];
    if (message.peer < 0 || message.peer >= task_.size() || message.peer == r || message.count <= 0)
      return fail(r, "a message of " + std::to_string(message.count) + " to rank " + std::to_string(message.peer));
    const Place place = resolve(r, message.place, message.count);
    for (int64_t e = place.begin; e < place.begin + message.count; ++e) {
      const auto c = static_cast<size_t>(e);
      if (message.is_send && !place.cells->is_known[c]) fail(r, "sends what was never written");
      if (place.cells->is_written_to[c]) fail(r, "uses memory that a message is being received into");
      if (!message.is_send && place.cells->readers[c] > 0) fail(r, "receives into memory that is being sent");
      if (message.is_send)
        ++place.cells->readers[c];
      else
        place.cells->is_written_to[c] = 1;
    }
    if (!message.is_send && message.place.buffer == Buffer::Input) fail(r, "receives into its input");
    const Posted posted{r, slot, message.place, message.count};
    const int from = message.is_send ? r : message.peer, to = message.is_send ? message.peer : r;
    auto& queues = waiting_->by_channel[Waiting::channel(from, to, index)];
    auto& others = message.is_send ? queues.receives : queues.sends;
    if (others.empty()) {
      (message.is_send ? queues.sends : queues.receives).push_back(posted);
    } else {
      const Posted other = others.front();
      others.pop_front();
      actions_.push_back({true, message.is_send ? posted : other, message.is_send ? other : posted});
    }
    if (message.is_send) {
      ++result_.num_messages;
      result_.sent[static_cast<size_t>(r)] += message.count;
    }
  }
}

void World::pass(const Posted& send, const Posted& receive) {
  if (send.count != receive.count)
    return fail(send.rank, "sends " + std::to_string(send.count) + " elements to rank " + std::to_string(receive.rank) +
                               ", which waits for " + std::to_string(receive.count));
  if ((send.place.buffer == Buffer::Partials) != (receive.place.buffer == Buffer::Partials))
    return fail(send.rank, "sends sums for elements, or elements for sums, to rank " + std::to_string(receive.rank));
  const Place from = resolve(send.rank, send.place, send.count);
  const Place to = resolve(receive.rank, receive.place, receive.count);
  for (int64_t i = 0; i < send.count; ++i) {
    const auto source = static_cast<size_t>(from.begin + i), target = static_cast<size_t>(to.begin + i);
    to.cells->values[target] = from.cells->values[source];
    to.cells->is_known[target] = 1;
    to.cells->is_written_to[target] = 0;
    --from.cells->readers[source];
  }
  finish_message(send.rank, send.slot);
  finish_message(receive.rank, receive.slot);
}

void World::finish_message(int r, int slot) {
  Running& running = ranks_[static_cast<size_t>(r)].running[static_cast<size_t>(slot)];
  if (--running.open_messages == 0) finish_round(r, slot);
}

void World::work(int r, const comm::schedule::Work& work) {
  const bool is_into_result = work.out.buffer == Buffer::Output;
  const bool is_of_sums = work.first.buffer == Buffer::Partials;
  if (work.is_copy ? work.out.buffer == Buffer::Input || is_of_sums != (work.out.buffer == Buffer::Partials)
                   : !(is_into_result || work.out.buffer == Buffer::Partials) || work.first.buffer == Buffer::Output ||
                         work.second.buffer == Buffer::Output)
    fail(r, "reduces or copies between kinds of memory that it may not");
  const Place out = resolve(r, work.out, work.count), first = resolve(r, work.first, work.count);
  const Place second = resolve(r, work.second, work.count);
  for (int64_t i = 0; i < work.count; ++i) {
    const auto o = static_cast<size_t>(out.begin + i), a = static_cast<size_t>(first.begin + i);
    const auto b = static_cast<size_t>(second.begin + i);
    if (!first.cells->is_known[a] || !second.cells->is_known[b]) fail(r, "computes with what was never written");
    if (first.cells->is_written_to[a] || second.cells->is_written_to[b])
      fail(r, "computes with what is being received");
    const bool is_itself = work.is_copy && out.cells == first.cells && o == a;
    if (!is_itself && (out.cells->is_written_to[o] || out.cells->readers[o] > 0))
      fail(r, "writes to memory that a message uses");
    const uint64_t value = first.cells->values[a];
    out.cells->values[o] = work.is_copy ? value : combine(value, second.cells->values[b]);
    out.cells->is_known[o] = 1;
  }
}

void World::finish_round(int r, int slot) {
  Rank& rank = ranks_[static_cast<size_t>(r)];
  Running& running = rank.running[static_cast<size_t>(slot)];
  const int round = running.rounds_over;
  for (size_t i = running.strand.begin_of_work(round); i < running.strand.round(round).end_of_work; ++i)
    work(r, running.strand.work()[i]);
  running.is_posted = false;
  ++running.rounds_over;
  const auto index = static_cast<size_t>(running.index);
  rank.rounds_over[index] = running.rounds_over;
  if (running.rounds_over == running.strand.num_rounds()) rank.is_over[index] = 1, ++rank.num_over;
  look_for_rounds(r);
}

void World::check_outputs(WorldResult& result) {
  const bool is_reduction = task_.collective != Collective::AllGather;
  std::vector<uint64_t> sums(static_cast<size_t>(begins_.back()), 0);
  for (int r = 0; r < task_.size(); ++r)
    for (int64_t i = is_reduction ? 0 : begins_[static_cast<size_t>(r)];
         i < (is_reduction ? begins_.back() : begins_[static_cast<size_t>(r) + 1]); ++i)
      sums[static_cast<size_t>(i)] += contribution(r, i);
  for (int r = 0; r < task_.size(); ++r) {
    const bool is_scattered = task_.collective == Collective::ReduceScatter;
    const int64_t first = is_scattered ? begins_[static_cast<size_t>(r)] : 0;
    const int64_t count = is_scattered ? task_.counts[static_cast<size_t>(r)] : begins_.back();
    result.outputs.emplace_back();
    for (int64_t i = 0; i < count; ++i) {
      const Place place = resolve(r, {Buffer::Output, i}, 1);
      const auto c = static_cast<size_t>(place.begin);
      if (!place.cells->is_known[c]) fail(r, "element " + std::to_string(i) + " of the result was never written");
      const uint64_t value = place.cells->values[c];
      if (algebra_ == Algebra::Sum && value != sums[static_cast<size_t>(first + i)])
        fail(r, "element " + std::to_string(i) + " of the result is not everybody's contribution once");
      result.outputs.back().push_back(value);
    }
  }
}

WorldResult World::run() {
  Random random(random_);
  for (int r = 0; r < task_.size(); ++r) look_for_rounds(r);
  while (!actions_.empty() && fault_.empty()) {
    std::swap(actions_[random.bits() % actions_.size()], actions_.back());
    const Action action = actions_.back();
    actions_.pop_back();
    if (action.is_pass)
      pass(action.first, action.second);
    else
      post(action.first.rank, action.first.slot);
  }
  for (int r = 0; r < task_.size() && fault_.empty(); ++r)
    if (const Rank& rank = ranks_[static_cast<size_t>(r)]; rank.num_over < rank.schedule.num_strands)
      fail(r, "waits for ever in strand " + std::to_string(rank.num_over) + " or a later one of " +
                  std::to_string(rank.schedule.num_strands));
  if (fault_.empty()) check_outputs(result_);
  result_.fault = fault_;
  return std::move(result_);
}

}  // namespace mfugaku::tests
