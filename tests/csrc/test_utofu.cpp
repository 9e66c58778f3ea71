// Collectives by the executor over the uTofu transport, on a mocked network with faults.
#include <doctest/doctest.h>

#include "comm/schedule/algorithms.h"
#include "utofu_job.h"

using namespace mfugaku::comm;
using namespace mfugaku::comm::schedule;
using mfugaku::comm::utofu::DeviceOptions;
using mfugaku::tests::Random;
using mfugaku::tests::TofuFaults;
using mfugaku::tests::TofuJob;

namespace {

constexpr Collective kCollectives[] = {Collective::AllReduce, Collective::ReduceScatter, Collective::AllGather};

float contribution(int rank, int64_t i) { return static_cast<float>((7 * rank + i) % 11); }

// Memory of all ranks for one collective, worked on in place, and whether the results are right.
class Problem {
 public:
  Problem(Collective collective, std::vector<int64_t> counts)
      : collective_(collective), counts_(std::move(counts)), begins_(begins_of(counts_)) {
    for (int rank = 0; rank < size(); ++rank) {
      memory_.emplace_back(static_cast<size_t>(begins_.back()) + 1, -1.0f);
      for (int64_t i = 0; i < begins_.back(); ++i)
        if (collective != Collective::AllGather || is_own(rank, i))
          memory_.back()[static_cast<size_t>(i)] = contribution(rank, i);
    }
  }

  int size() const { return static_cast<int>(counts_.size()); }
  Task task(int rank) const { return {collective_, rank, counts_}; }
  Data data(int rank) {
    float* const all = memory_[static_cast<size_t>(rank)].data();
    const auto r = static_cast<size_t>(rank);
    float* const own = all + begins_[r];
    const bool is_gather = collective_ == Collective::AllGather, is_scatter = collective_ == Collective::ReduceScatter;
    return {is_gather ? own : all, is_scatter ? own : all, DataType::Float32, Reduction::Sum, 1.0, {},
            is_gather ? counts_[r] : begins_.back(), is_scatter ? counts_[r] : begins_.back()};
  }
  int64_t count_wrong() const {
    int64_t wrong = 0;
    for (int rank = 0; rank < size(); ++rank)
      for (int64_t i = 0; i < begins_.back(); ++i) {
        if (collective_ == Collective::ReduceScatter && !is_own(rank, i)) continue;
        float expected = 0;
        for (int from = 0; from < size(); ++from)
          if (collective_ != Collective::AllGather || is_own(from, i)) expected += contribution(from, i);
        wrong += memory_[static_cast<size_t>(rank)][static_cast<size_t>(i)] != expected;
      }
    return wrong;
  }

 private:
  bool is_own(int rank, int64_t i) const {
    return i >= begins_[static_cast<size_t>(rank)] && i < begins_[static_cast<size_t>(rank) + 1];
  }
  Collective collective_;
  std::vector<int64_t> counts_, begins_;
  std::vector<std::vector<float>> memory_;
};

Schedule any_schedule(const Task& task, uint64_t choice) {
  switch (choice % 4) {
    case 0: return ring(task, 1 + static_cast<int>(choice / 4 % 4));
    case 1: return recursive_halving(task);
    case 2:
      if (task.collective == Collective::AllReduce) return recursive_doubling(task);
      break;
    default: break;
  }
  const Torus torus = task.size() % 2 == 0 && task.size() > 2 ? Torus::parse("2x" + std::to_string(task.size() / 2))
                                                              : Torus::parse(std::to_string(task.size()));
  return torus_lanes(task, torus, weigh_lanes(torus, 6), 1 + static_cast<int>(choice / 4 % 3));
}

// Counts of no elements, of one, and long ones.
Problem any_problem(Random& random, int size) {
  const Collective collective = kCollectives[random.bits() % 3];
  const uint64_t longest = random.bits() % 3 == 0 ? 2 : 400;
  const auto any = [&](uint64_t limit) { return static_cast<int64_t>(random.bits() % limit); };
  if (collective == Collective::AllReduce)
    return {collective, all_reduce_task(0, size, any(longest * static_cast<uint64_t>(size))).counts};
  std::vector<int64_t> counts;
  for (int i = 0; i < size; ++i) counts.push_back(any(longest));
  return {collective, counts};
}

TofuFaults any_faults(Random& random) {
  TofuFaults faults;
  faults.num_tnis = 1 + static_cast<int>(random.bits() % 3);
  faults.max_put_bytes = random.bits() % 2 ? 16'777'215 : 60 + 4 * (random.bits() % 100);
  faults.order_entries = 1 + random.bits() % 20;
  faults.busy_percent = static_cast<int>(random.bits() % 60);
  return faults;
}

void add(TofuJob& job, Problem& problem, uint64_t choice) {
  job.add([&](int rank) { return any_schedule(problem.task(rank), choice); },
          [&](int rank) { return problem.data(rank); });
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

// The suite's name is known to docker/lane/parts.sh: nothing in it depends on the processor.
TEST_SUITE_BEGIN("schedules");

TEST_CASE("collectives over uTofu are right whatever the network does") {
  int64_t num_busy = 0, num_overtaken = 0;
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    Random random(seed);
    const int size = 2 + static_cast<int>(random.bits() % 7);
    TofuFaults faults = any_faults(random);
    DeviceOptions options;
    // A queue with just the room that credits need, an eighth of it for errors.
    options.max_window = 1 + static_cast<int>(random.bits() % 5);
    faults.receive_entries = static_cast<size_t>((size - 1) * (options.max_window + 1) * 8 + 6) / 7;
    options.queue_entries = static_cast<int64_t>(faults.receive_entries) + 1;
    Problem first = any_problem(random, size), second = any_problem(random, size);
    TofuJob job(size, faults, options, seed);
    add(job, first, random.bits());
    add(job, second, random.bits());  // both at a time, in any order on every rank
    INFO("seed " << seed);
    REQUIRE_EQ(job.run(), "");
    REQUIRE_EQ(job.mock.num_registrations(), size * faults.num_tnis);  // mailboxes
    REQUIRE_EQ(first.count_wrong(), 0);
    REQUIRE_EQ(second.count_wrong(), 0);
    for (const std::string& error : job.errors) REQUIRE_EQ(error, "");
    num_busy += job.mock.num_busy;
    num_overtaken += job.mock.num_overtaken;
  }
  CHECK(num_busy > 1000);
  CHECK(num_overtaken > 1000);
}

TEST_CASE("without credits a receive queue of uTofu overflows") {
  const int64_t count = 8 * 3000;
  const auto run = [&](int64_t queue_entries, size_t& most_unread) {
    TofuFaults faults;
    faults.num_tnis = 1;
    faults.max_put_bytes = 64;
    faults.receive_entries = 60;
    DeviceOptions options;
    options.queue_entries = queue_entries;
    options.max_window = 64;
    Problem problem(Collective::AllReduce, all_reduce_task(0, 8, count).counts);
    TofuJob job(8, faults, options, 3);
    add(job, problem, 0);
    job.laziness = 100;  // ranks read their queues rarely
    const std::string fault = job.run();
    most_unread = job.mock.most_unread;
    if (fault.empty()) CHECK_EQ(problem.count_wrong(), 0);
    return fault;
  };
  size_t most_unread = 0;
  CHECK_EQ(run(60, most_unread), "");
  CHECK(most_unread <= 60);
  CHECK(contains(run(1'000'000, most_unread), "MRQ overflow"));
  CHECK_THROWS_WITH_AS(run(5, most_unread), doctest::Contains("UTOFU_NUM_MRQ_ENTRIES"), CommFailure);
}

TEST_CASE("a dead rank and a failed put are told with the name of the peer") {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    INFO("seed " << seed);
    {
      Problem problem(Collective::AllReduce, all_reduce_task(0, 2, 500).counts);
      TofuJob job(2, TofuFaults{}, DeviceOptions{}, seed);
      add(job, problem, 0);
      job.kill(1);
      job.run();
      CHECK(job.is_over(0));
      CHECK(contains(job.errors[0], "the link to rank 1 is broken"));
      CHECK(contains(job.errors[0], "UTOFU_ERR_MRQ_PEER"));
    }
    TofuFaults faults;
    faults.invalid_put = static_cast<int>(seed % 8);
    faults.may_lose_target = true;  // of an operation that has failed
    Problem problem(Collective::AllReduce, all_reduce_task(0, 2, 500).counts);
    TofuJob job(2, faults, DeviceOptions{}, seed);
    add(job, problem, 0);
    const std::string fault = job.run();  // the other rank may wait: its timeout is the engine's
    CHECK((fault.empty() || fault == "ranks wait for ever"));
    const std::string both = job.errors[0] + job.errors[1];
    CHECK(contains(both, "the link to rank "));
    CHECK(contains(both, "UTOFU_ERR_TCQ_MEMORY (-130)"));
  }
}

TEST_CASE("ranks that disagree about a length are both told, and go on") {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    INFO("seed " << seed);
    Problem longer(Collective::AllReduce, all_reduce_task(0, 2, 9).counts), next = longer;
    TofuJob job(2, TofuFaults{}, DeviceOptions{}, seed);
    job.add([&](int rank) { return recursive_doubling(all_reduce_task(rank, 2, rank == 0 ? 9 : 8)); },
            [&](int rank) { return longer.data(rank); });
    CHECK_EQ(job.run(), "");
    for (const std::string& error : job.errors) CHECK(contains(error, "disagree about the tensor"));
    add(job, next, 1);
    CHECK_EQ(job.run(), "");
    CHECK_EQ(next.count_wrong(), 0);
  }
}

TEST_CASE("the mock of uTofu notes misuse") {
  auto& mock = mfugaku::tests::TofuMock::reset(2, TofuFaults{}, 1);
  utofu_vcq_hdl_t first = 0, second = 0;
  REQUIRE_EQ(utofu_create_vcq(0, 0, &first), UTOFU_SUCCESS);
  mock.enter(1);
  REQUIRE_EQ(utofu_create_vcq(0, 0, &second), UTOFU_SUCCESS);
  utofu_vcq_id_t to = 0;
  utofu_query_vcq_id(second, &to);
  mock.enter(0);
  char memory[64] = {};
  utofu_stadd_t stadd = 0;
  REQUIRE_EQ(utofu_reg_mem(first, memory, sizeof memory, 0, &stadd), UTOFU_SUCCESS);
  SUBCASE("a target that is not registered") {
    utofu_put(first, to, stadd, 77, 64, 0, 0, nullptr);
    while (mock.step()) {}
    utofu_mrq_notice notice;
    CHECK_EQ(utofu_poll_mrq(first, 0, &notice), UTOFU_ERR_MRQ_RMT_STADD);
    CHECK(contains(mock.fault(), "not registered"));
  }
  SUBCASE("more than is registered") {
    utofu_put(first, to, stadd, stadd, 65, 0, 0, nullptr);
    while (mock.step()) {}
    void* data;
    CHECK_EQ(utofu_poll_tcq(first, 0, &data), UTOFU_ERR_TCQ_STADD);
  }
  SUBCASE("lengths and EDATA beyond the limits") {
    CHECK_EQ(utofu_put(first, to, stadd, 0, 1 << 24, 0, 0, nullptr), UTOFU_ERR_INVALID_SIZE);
    CHECK_EQ(utofu_put_piggyback(first, to, memory, 0, 33, 0, 0, nullptr), UTOFU_ERR_INVALID_SIZE);
    CHECK_EQ(utofu_put(first, to, stadd, 0, 64, 256, 0, nullptr), UTOFU_ERR_INVALID_EDATA);
  }
  SUBCASE("a queue that was freed, or is another node's") {
    mock.enter(1);
    void* data;
    utofu_poll_tcq(first, 0, &data);
    CHECK(contains(mock.fault(), "queue of node 0"));
    utofu_free_vcq(second);
    utofu_mrq_notice notice;
    CHECK_EQ(utofu_poll_mrq(second, 0, &notice), UTOFU_ERR_INVALID_VCQ_HDL);
  }
  CHECK(!mock.fault().empty());
}

TEST_SUITE_END();
