// Collectives at random: one after the other, many in flight, on groups that cross each other.
#include "comm/schedule/choice.h"
#include "job.h"

namespace mfugaku::tests {
namespace {

using comm::Engine;
using comm::Group;
using comm::OperationPtr;

constexpr int64_t kMaxCount = 40'000;

// A group of this rank, and the state of what its members have in common.
struct Crowd {
  std::shared_ptr<Group> group;
  Random common;
};

// All ranks, all of them backwards, and what is left without rank 0: every rank but one is in all three.
std::vector<Crowd> make_crowds(const Options& options) {
  const std::vector<int> all = all_ranks();
  std::vector<Crowd> crowds;
  const std::vector<int> backwards(all.rbegin(), all.rend()), without_first(all.begin() + 1, all.end());
  for (const auto& ranks : {all, backwards, without_first})
    if (auto group = make_group(ranks, options))
      crowds.push_back({group, Random(options.seed + 1000 * ranks.size() + static_cast<uint64_t>(ranks[0]))});
  return crowds;
}

Random own_random(const Options& options) {
  return Random(options.seed * 1'000'003 + static_cast<uint64_t>(Engine::instance().rank()));
}

void finish(const Job& job, const OperationPtr& operation) {
  try {
    Engine::instance().wait({operation});
    job.verify();
  } catch (const std::exception& failure) {
    throw Failure(job.description + ": " + failure.what());
  }
}

void dismiss(const std::vector<Crowd>& crowds) {
  for (const Crowd& crowd : crowds) {
    Engine::instance().wait({comm::barrier(*crowd.group, {})});
    crowd.group->shut_down();
  }
}

}  // namespace

void check_random_collectives(const Options& options) {
  auto crowds = make_crowds(options);
  Random own = own_random(options);
  for (int64_t round = 0; round < options.num_rounds; ++round)
    for (Crowd& crowd : crowds) {
      // Several of one group in flight, waited for in an order of the rank's own.
      std::vector<std::pair<Job, OperationPtr>> open;
      for (int64_t left = 1 + crowd.common.below(4); left > 0; --left)
        open.emplace_back(draw_job(crowd.common, own, crowd.group, (round % 8 == 0 ? 8 : 1) * kMaxCount), nullptr);
      for (auto& [job, operation] : open) operation = job.start();
      own.shuffle(open);
      for (const auto& [job, operation] : open) finish(job, operation);
    }
  dismiss(crowds);
}

void check_schedules(const Options& options) {
  comm::schedule::ChoiceTable& table = comm::schedule::ChoiceTable::instance();
  const int size = Engine::instance().size();
  std::vector<std::string> rules = {"all=ring", "all=halving", "all=pieces", "all_reduce=doubling,all=ring",
                                    "all=lanes:" + std::to_string(size) + "l"};
  if (size == 4) rules.push_back("all=lanes:2x2");
  Options fewer = options;
  fewer.num_rounds = options.num_rounds / 5;
  for (const std::string& rule : rules) {
    table.set(rule + ",all=mpi");
    check_random_collectives(fewer);
  }
  // Long messages in parts.
  const int64_t whole = Engine::instance().max_count();
  Engine::instance().set_max_count(1000);
  table.set("all:50000=ring,all=mpi");
  check_random_collectives(fewer);
  Engine::instance().set_max_count(whole);
  table.set("");
}

// Two groups of the same ranks, in a random order of each rank's own: a thousand orders in a thousand rounds, the
// operations of several rounds in flight together.
void check_crossed_collectives(const Options& options) {
  auto crowds = make_crowds(options);
  crowds.erase(crowds.begin() + 2, crowds.end());
  Random own = own_random(options);
  struct Open {
    Job job;
    OperationPtr operation;
  };
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::vector<Job>> jobs(2);
    std::vector<size_t> order;
    for (size_t i = 0; i < crowds.size(); ++i)
      for (int n = 0; n < 2; ++n) {
        jobs[i].push_back(draw_job(crowds[i].common, own, crowds[i].group, round % 50 == 0 ? kMaxCount : 300));
        order.push_back(i);
      }
    own.shuffle(order);
    std::vector<Open> open;
    std::vector<size_t> num_begun(2, 0);
    for (const size_t i : order) {
      const Job& job = jobs[i][num_begun[i]++];
      open.push_back({job, job.start()});
    }
    own.shuffle(open);
    for (const Open& one : open) finish(one.job, one.operation);
  }
  dismiss(crowds);
}

}  // namespace mfugaku::tests
