// Who is told that an operation is over, and by whom: callbacks, and several threads that start, wait and look.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "job.h"

namespace mfugaku::tests {
namespace {

using comm::Engine;
using comm::OperationPtr;

// Waits as a future does: looks at nothing, drives nothing.
class Countdown {
 public:
  explicit Countdown(int64_t count) : left_(count) {}
  void step() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--left_ == 0) is_zero_.notify_all();
  }
  void wait(double timeout_s) {
    std::unique_lock<std::mutex> lock(mutex_);
    const bool is_over = is_zero_.wait_for(lock, std::chrono::duration<double>(timeout_s), [&] { return left_ <= 0; });
    require(is_over, std::to_string(left_) + " callbacks did not come");
  }

 private:
  std::mutex mutex_;
  std::condition_variable is_zero_;
  int64_t left_;
};

}  // namespace

// Results are there when the callback comes, and nobody but the engine's own thread drives them.
void check_callbacks(const Options& options) {
  auto group = make_group(all_ranks(), options);
  Random common(options.seed), own(options.seed);
  for (int64_t round = 0; round < options.num_rounds; ++round) {
    std::vector<Job> jobs;
    for (int i = 0; i < 3; ++i) jobs.push_back(draw_job(common, own, group, 3000));
    auto countdown = std::make_shared<Countdown>(6);
    auto failure = std::make_shared<std::atomic<bool>>(false);
    for (const Job& job : jobs) {
      const OperationPtr operation = job.start();
      // The second one may come after the operation is over, and is then called from here.
      for (int i = 0; i < 2; ++i)
        Engine::instance().when_done(operation, [=] {
          try {
            job.verify();
            if (!operation->done.load() || !operation->error.empty()) failure->store(true);
          } catch (const std::exception&) {
            failure->store(true);
          }
          countdown->step();
        });
    }
    countdown->wait(options.timeout_s);
    require(!failure->load(), "a result was not there when its callback came");
  }
  Engine::instance().wait({comm::barrier(*group, {})});
  group->shut_down();
}

// Every thread has a group of its own; they wait for their operations at the same time, while one more only looks.
void check_many_threads(const Options& options) {
  if (Engine::instance().thread_level() < MPI_THREAD_SERIALIZED) return;
  constexpr int kNumThreads = 3;
  std::vector<std::shared_ptr<comm::Group>> groups;
  for (int i = 0; i < kNumThreads; ++i) groups.push_back(make_group(all_ranks(), options));
  std::atomic<bool> is_over{false};
  std::vector<std::string> failures(kNumThreads);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < groups.size(); ++i)
    threads.emplace_back([&, i] {
      try {
        Random common(options.seed + i), own(i);
        for (int64_t round = 0; round < options.num_rounds; ++round) {
          const Job job = draw_job(common, own, groups[i], 3000);
          Engine::instance().wait({job.start()});
          job.verify();
        }
      } catch (const std::exception& failure) {
        failures[i] = failure.what();
      }
    });
  std::thread onlooker([&] {
    while (!is_over.load()) {
      Engine::instance().progress();
      Engine::instance().recorder().totals();
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  is_over.store(true);
  onlooker.join();
  for (const std::string& failure : failures) require(failure.empty(), failure);
  for (const auto& group : groups) {
    Engine::instance().wait({comm::barrier(*group, {})});
    group->shut_down();
  }
}

// Between two tiles of a long computation nobody waits, but what is in flight gets on; the operation is over only when
// it is waited for. From several threads at once, as tiles are computed by several.
void check_pokes(const Options& options) {
  auto group = make_group(all_ranks(), options);
  Random common(options.seed + 7), own(options.seed);
  for (int64_t round = 0; round < options.num_rounds; ++round) {
    const Job job = draw_job(common, own, group, 100'000);
    const OperationPtr operation = job.start();
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
      threads.emplace_back([] {
        for (int tile = 0; tile < 50; ++tile) {
          mfugaku_comm_poke();
          std::this_thread::yield();
        }
      });
    for (std::thread& thread : threads) thread.join();
    Engine::instance().wait({operation});
    job.verify();
  }
  // Whole collectives, of the thread's own accord alone: only their end is left to the wait.
  if (!options.progress_thread) {
    const Job job = draw_job(common, own, group, 100'000);
    const OperationPtr operation = job.start();
    const double begin_s = comm::now_s();
    while (operation->next_stage < operation->stages.size() || operation->has_open_work()) {
      mfugaku_comm_poke();
      require(comm::now_s() - begin_s < options.timeout_s, "pokes alone did not carry a collective to its end");
    }
    job.verify();
    Engine::instance().wait({operation});
  }
  Engine::instance().wait({comm::barrier(*group, {})});
  group->shut_down();
}

}  // namespace mfugaku::tests
