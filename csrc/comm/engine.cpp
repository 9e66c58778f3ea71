#include "engine.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>

#include "transport/utofu_over_mpi.h"

namespace mfugaku::comm {
namespace {

// How long a failure of MPI's waits for what other ranks say of it: MPI itself may have no words for it, as Open MPI's
// nonblocking collectives for vectors of different length.
constexpr double kExplanationS = 1;

// After so many rounds without news, what others do with MPI in this process is driven too.
constexpr int kRoundsForOurselves = 16;

// Tells the core that this is a loop that waits.
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// 0, or why this thread may not run on the core alone.
int pin_to(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<size_t>(core), &cores);
  return pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores);
}

void at_exit(int status, void*) { Engine::instance().finalize(status); }

int at_finalize(MPI_Comm, int, void*, void*) {
  Engine::instance().leave();
  return MPI_SUCCESS;
}

}  // namespace

double Backoff::pause() {
  if (++num_pauses_ <= 16) return 0;  // the answer is often there already
  const double time = now_s();
  if (begin_s_ == 0) begin_s_ = time;
  const double waited_s = time - begin_s_;
  if (waited_s < spin_s_) {
    relax();
  } else if (waited_s < 2e-3) {
    sched_yield();
  } else {
    timespec nap{0, waited_s < 0.1 ? 50'000 : 500'000};
    nanosleep(&nap, nullptr);
  }
  return time;
}

Engine& Engine::instance() {
  static auto* engine = new Engine();  // never destroyed: exit handlers and daemon threads may still use it
  return *engine;
}

void Engine::check_ready() const {
  if (!ready_.load()) throw CommFailure("MPI is not running in this process: it was not initialised, or is finalised");
}

void Engine::initialize(const EngineOptions& options) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (ready_.load()) return;
  int is_finalized = 0, is_initialized = 0;
  check_mpi(MPI_Finalized(&is_finalized), "MPI_Finalized");
  if (is_finalized) throw CommFailure("MPI was finalised already and cannot start again in this process");
  if (options.utofu && !has_utofu())
    throw CommFailure("uTofu was asked for, but <utofu.h> was not found when this package was built, so there is "
                      "nothing that could carry messages over it. Build it on the machine with Fujitsu's include folder "
                      "in CXXFLAGS, or leave the choice to the package. [MFUGAKU_COMM_TRANSPORT]");
  options_ = options;
  check_progress_core();
  check_mpi(MPI_Initialized(&is_initialized), "MPI_Initialized");
  if (is_initialized) {
    check_mpi(MPI_Query_thread(&thread_level_), "MPI_Query_thread");
  } else {
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &thread_level_), "MPI_Init_thread");
    owns_mpi_ = true;
    // Some MPIs report errors of nonblocking collectives there, whatever communicator they belong to.
    check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &base_), "MPI_Comm_dup");
  check_mpi(MPI_Comm_set_errhandler(base_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(base_, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(base_, &size_), "MPI_Comm_size");
  int* largest_tag = nullptr;
  int is_set = 0;
  check_mpi(MPI_Comm_get_attr(base_, MPI_TAG_UB, &largest_tag, &is_set), "MPI_Comm_get_attr");
  if (is_set) max_tag_ = *largest_tag;
  find_nodes();
  pid_ = static_cast<int>(getpid());
  recorder_.set_tracing(options.tracing);
  if (owns_mpi_)
    on_exit(at_exit, nullptr);
  else
    leave_at_finalize();
  ready_.store(true);
  if (options.progress_thread) start_thread();
}

// MPI_Finalize begins by deleting the attributes of MPI_COMM_SELF (MPI 3.1, 8.7.1).
void Engine::leave_at_finalize() {
  int key = MPI_KEYVAL_INVALID;
  check_mpi(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, at_finalize, &key, nullptr), "MPI_Comm_create_keyval");
  check_mpi(MPI_Comm_set_attr(MPI_COMM_SELF, key, nullptr), "MPI_Comm_set_attr");
  check_mpi(MPI_Comm_free_keyval(&key), "MPI_Comm_free_keyval");
}

void Engine::find_nodes() {
  char boot_id[40] = {};  // of the running kernel
  std::ifstream("/proc/sys/kernel/random/boot_id").getline(boot_id, sizeof(boot_id));
  char name[MPI_MAX_PROCESSOR_NAME] = {};
  int length = 0;
  if (boot_id[0] == '\0') check_mpi(MPI_Get_processor_name(name, &length), "MPI_Get_processor_name");
  uint64_t node = std::hash<std::string>{}(std::string(boot_id) + name);
  if (options_.ranks_per_node > 0) node = static_cast<uint64_t>(rank_ / options_.ranks_per_node);
  nodes_.resize(static_cast<size_t>(size_));
  check_mpi(MPI_Allgather(&node, sizeof node, MPI_BYTE, nodes_.data(), sizeof node, MPI_BYTE, base_), "MPI_Allgather");
}

bool Engine::advance(Operation& operation) {
  bool has_moved = false, is_explained = true;
  try {
    const bool may_be_over = !operation.beside || operation.beside->advance(has_moved);
    is_explained = false;
    if (!operation.unexplained.empty()) {
      if (now_s() - operation.unexplained_s < kExplanationS) return has_moved;
      throw CommFailure(operation.unexplained);
    }
    if (operation.poll) {
      if (!operation.poll->advance(has_moved)) return has_moved;
      if (const char* way = operation.poll->way()) operation.way = way;
      operation.poll.reset();
    }
    while (true) {
      if (!operation.requests.empty()) {
        int all_done = 0;
        const int count = static_cast<int>(operation.requests.size());
        std::vector<MPI_Status>& statuses = operation.statuses;
        statuses.resize(operation.requests.size());
        const int code = MPI_Testall(count, operation.requests.data(), &all_done, statuses.data());
        if (code == MPI_ERR_IN_STATUS) {
          for (const MPI_Status& status : statuses)
            if (status.MPI_ERROR != MPI_ERR_PENDING) check_mpi(status.MPI_ERROR, operation.name);
        }
        check_mpi(code, operation.name);
        if (!all_done) return has_moved;
        for (size_t i = 0; i < statuses.size(); ++i) {
          if (operation.expected_bytes[i] < 0) continue;
          int received = 0;
          check_mpi(MPI_Get_count(&statuses[i], MPI_BYTE, &received), "MPI_Get_count");
          if (received != operation.expected_bytes[i])
            throw CommFailure("a message of " + std::to_string(received) + " bytes arrived where " +
                              std::to_string(operation.expected_bytes[i]) +
                              " were expected; sender and receiver disagree about the tensor");
          if (operation.is_receive_any && operation.source < 0) operation.source = statuses[i].MPI_SOURCE;
        }
        operation.requests.clear();
        operation.expected_bytes.clear();
      }
      if (operation.next_stage == operation.stages.size()) break;
      const Operation::Stage stage = std::move(operation.stages[operation.next_stage++]);
      stage(operation);
    }
    if (!may_be_over) return has_moved;
    operation.beside.reset();
  } catch (const std::exception& failure) {
    if (operation.beside && !is_explained && operation.unexplained.empty()) {
      operation.unexplained = failure.what();
      operation.unexplained_s = now_s();
      return true;
    }
    operation.error = std::string("failed: ") + failure.what() + ".";
    for (std::shared_ptr<Poll>* poll : {&operation.poll, &operation.beside})
      if (*poll && !(*poll)->is_holding_memory()) poll->reset();
    if (operation.on_failure) operation.on_failure(failure.what());
  }
  operation.end_s = now_s();
  return true;
}

// Other ranks may still come to a collective that this one has given up; later ones of the group wait behind it. What
// MPI still reads or writes must stay, whatever else goes wrong.
void Engine::advance_abandoned(std::vector<OperationPtr>& finished) {
  const auto is_over = [](Poll& poll) {
    bool has_moved = false;
    try {
      return poll.advance(has_moved);
    } catch (const std::exception&) {
      return !poll.is_holding_memory();
    }
  };
  const auto goes_on = [&](const OperationPtr& operation) {
    for (std::shared_ptr<Poll>* poll : {&operation->poll, &operation->beside})
      if (*poll && is_over(**poll)) poll->reset();
    return operation->has_open_work();
  };
  const auto first = std::stable_partition(abandoned_.begin(), abandoned_.end(), goes_on);
  std::move(first, abandoned_.end(), std::back_inserter(finished));
  abandoned_.erase(first, abandoned_.end());
}

// Futures wait without a limit of their own.
void Engine::give_up_if_late(Operation& operation) {
  if (operation.callbacks.empty() || now_s() - operation.start_s <= operation.timeout_s) return;
  operation.error = Operation::describe_timeout(operation.timeout_s);
  operation.end_s = now_s();
}

// Another rank may wait for a message of theirs before it comes to what is waited for here, and operations through
// shared memory call no MPI that would move it. Nobody sends the message that is asked for.
void Engine::drive_mpi_of_others(bool has_moved) {
  num_idle_rounds_ = has_moved || active_.empty() ? 0 : num_idle_rounds_ + 1;
  if (num_idle_rounds_ <= kRoundsForOurselves) return;
  int is_there = 0;
  check_mpi(MPI_Iprobe(rank_, max_tag_, base_, &is_there, MPI_STATUS_IGNORE), "MPI_Iprobe");
}

void Engine::submit(const OperationPtr& operation) {
  operation->start_s = now_s();
  bool is_over = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    check_ready();
    flight_.begin(*operation);
    advance(*operation);
    is_over = operation->end_s != 0;
    active_.push_back(operation);
    num_active_.store(active_.size());
  }
  if (operation->totals != nullptr) {
    const double end_s = is_over ? operation->end_s : now_s();
    recorder_.count_call(*operation->totals, operation->num_bytes, end_s - operation->start_s);
  }
  if (is_over) progress();
  if (options_.progress_thread) thread_wakes_.notify_one();
}

bool Engine::progress() { return progress(nullptr); }

bool Engine::progress(const Operation* awaited) {
  std::vector<OperationPtr> finished, late;
  std::ptrdiff_t num_released = 0;
  std::vector<std::function<void()>> callbacks;
  bool has_moved = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!ready_.load()) return false;
    if (awaited != nullptr && flight_.is_open()) flight_.wait(*awaited, now_s());
    for (const OperationPtr& operation : active_) {
      if (operation->end_s == 0) has_moved |= advance(*operation);
      if (operation->end_s == 0) give_up_if_late(*operation);
    }
    if (!abandoned_.empty()) advance_abandoned(late);
    if (!owns_mpi_) drive_mpi_of_others(has_moved);
    const auto is_over = [](const OperationPtr& operation) { return operation->end_s != 0; };
    if (!active_.empty() && std::all_of(active_.begin(), active_.end(), is_over)) {
      finished.swap(active_);
      num_active_.store(0);
    } else if (std::any_of(active_.begin(), active_.end(), is_over)) {
      const auto first = std::stable_partition(active_.begin(), active_.end(), std::not_fn(is_over));
      finished.assign(std::make_move_iterator(first), std::make_move_iterator(active_.end()));
      active_.erase(first, active_.end());
      num_active_.store(active_.size());
    }
    const auto is_closed = [](const OperationPtr& operation) { return !operation->has_open_work(); };
    const auto kept = std::partition(finished.begin(), finished.end(), is_closed);
    num_released = kept - finished.begin();
    abandoned_.insert(abandoned_.end(), kept, finished.end());
    for (const OperationPtr& operation : finished) {
      for (auto& callback : operation->callbacks) callbacks.push_back(std::move(callback));
      operation->callbacks.clear();
      flight_.end(*operation);
      operation->done.store(true, std::memory_order_release);
    }
  }
  // Outside the lock: owners of memory and callbacks may need the Python interpreter.
  for (const OperationPtr& operation : finished) {
    double wait_start_s = operation->wait_start_s.load();
    if (wait_start_s == 0) wait_start_s = operation->end_s;
    if (recorder_.is_tracing())
      recorder_.trace({operation->group, operation->name, operation->sequence, operation->num_bytes, operation->start_s,
                       std::min(wait_start_s, operation->end_s), operation->end_s, operation->way});
    operation->stages.clear();
  }
  for (std::ptrdiff_t i = 0; i < num_released; ++i) finished[static_cast<size_t>(i)]->keep.clear();
  for (const auto& callback : callbacks) {
    callback();
    --num_callbacks_;
  }
  return has_moved || !finished.empty();
}

void Engine::poke() {
  if (num_active_.load(std::memory_order_relaxed) == 0 || !may_call_from_any_thread()) return;
  if (static_cast<int>(getpid()) != pid_) return;  // a forked child's copy of what its parent has in flight
  std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || !ready_.load()) return;
  for (const OperationPtr& operation : active_)
    if (operation->end_s == 0) advance(*operation);
}

void Engine::wait(const std::vector<OperationPtr>& operations, double timeout_s) {
  for (const OperationPtr& operation : operations) {
    const double begin_s = now_s();
    double unset = 0;
    operation->wait_start_s.compare_exchange_strong(unset, begin_s);
    const double limit_s = timeout_s > 0 ? timeout_s : operation->timeout_s;
    const auto note_wait = [&](double end_s) {
      if (operation->totals != nullptr) recorder_.add_wait(*operation->totals, std::max(0.0, end_s - begin_s));
    };
    Backoff backoff(spin_s_.load());
    unsigned num_rounds = 0;
    while (!operation->done.load(std::memory_order_acquire)) {
      if (progress(operation.get())) backoff.reset();
      if (operation->done.load(std::memory_order_acquire)) break;
      if (!ready_.load()) throw CommFailure(operation->describe() + " cannot finish: MPI is finalised.");
      double time = backoff.pause();
      if (++num_rounds % 64 == 0) time = now_s();  // others may move all the time, so that no pause ever looks
      if (time - begin_s > limit_s) {
        note_wait(time);
        throw CommFailure(operation->describe() + " " + Operation::describe_timeout(limit_s));
      }
    }
    note_wait(operation->end_s);
    if (!operation->error.empty()) throw CommFailure(operation->describe_failure());
  }
}

void Engine::when_done(const OperationPtr& operation, std::function<void()> callback) {
  bool is_done = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_done = operation->done.load();
    if (!is_done) {
      operation->callbacks.push_back(callback);
      ++num_callbacks_;
    }
  }
  if (is_done) {
    callback();
  } else if (may_call_from_any_thread()) {
    start_thread();
    thread_wakes_.notify_one();
  } else {
    wait({operation});  // nobody else may call MPI
  }
}

void Engine::locked(const std::function<void()>& body) {
  std::lock_guard<std::mutex> lock(mutex_);
  check_ready();
  body();
}

bool Engine::has_open_operations(const std::string& group) const {
  const auto is_of_group = [&group](const OperationPtr& operation) { return *operation->group == group; };
  return std::any_of(active_.begin(), active_.end(), is_of_group) ||
         std::any_of(abandoned_.begin(), abandoned_.end(), is_of_group);
}

void Engine::record_flight(const std::string& path) {
  locked([&] {
    if (!flight_.is_open()) flight_.open(path, rank_, size_, pid_);
  });
}

// Before MPI starts, since a rank that fails alone leaves the others waiting; on a thread of its own, to be left as it
// is. Cores of the system, as the assistant cores of an A64FX, need not be among those that the process was bound to.
void Engine::check_progress_core() const {
  const int core = options_.progress_core;
  if (core < 0) return;
  int refusal = core < CPU_SETSIZE ? 0 : EINVAL;
  if (refusal == 0) std::thread([&] { refusal = pin_to(core); }).join();
  if (refusal == 0) return;
  throw CommFailure("the progress thread may not run on core " + std::to_string(core) + " (" + std::strerror(refusal) +
                    "). It would take its time from the threads that compute. Name a core that this process may use "
                    "and that does not compute, or unset the variable. [MFUGAKU_COMM_PROGRESS_CORE]");
}

void Engine::start_thread() {
  std::lock_guard<std::mutex> lock(thread_mutex_);
  if (thread_.joinable() || !may_call_from_any_thread()) return;
  thread_stops_ = false;
  thread_ = std::thread([this] { run_thread(); });
}

void Engine::run_thread() {
  if (options_.progress_core >= 0) pin_to(options_.progress_core);
  Backoff backoff(options_.progress_core >= 0 ? 2e-3 : 0);  // a core of its own need not be given away at once
  while (true) {
    {
      std::unique_lock<std::mutex> lock(thread_mutex_);
      const auto has_work = [this] {
        if (thread_stops_) return true;
        if (!options_.progress_thread) return num_callbacks_.load() > 0;
        return num_active_.load() > 0;
      };
      // The wake-up may come between the test and the sleep, hence the bound.
      while (!has_work()) thread_wakes_.wait_for(lock, std::chrono::milliseconds(1));
      if (thread_stops_) return;
    }
    if (progress()) backoff.reset();
    backoff.pause();
  }
}

void Engine::stop_thread() {
  {
    std::lock_guard<std::mutex> lock(thread_mutex_);
    thread_stops_ = true;
  }
  thread_wakes_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Engine::leave() {
  if (!ready_.load() || static_cast<int>(getpid()) != pid_) return;
  stop_thread();
  std::lock_guard<std::mutex> lock(mutex_);
  flight_.finish(Flight::Ending::Finalized);
  ready_.store(false);
}

void Engine::finalize(int exit_status) {
  if (!ready_.load() || static_cast<int>(getpid()) != pid_) return;
  stop_thread();
  int is_finalized = 0;
  MPI_Finalized(&is_finalized);
  if (is_finalized) {
    ready_.store(false);
    return;
  }
  if (!owns_mpi_) {
    ready_.store(false);
    return;
  }
  if (exit_status != 0) {
    if (size_ > 1) abort("ends with exit status " + std::to_string(exit_status) + ", and the job with it", exit_status);
    ready_.store(false);
    MPI_Finalize();
    return;
  }
  try {
    auto farewell = std::make_shared<Operation>();
    farewell->name = "last barrier before MPI_Finalize";
    farewell->group = std::make_shared<const std::string>("all processes");
    farewell->rank = rank_;
    farewell->group_size = size_;
    farewell->timeout_s = options_.timeout_s;
    const MPI_Comm base = base_;
    farewell->stages.push_back([base](Operation& operation) {
      MPI_Request request;
      check_mpi(MPI_Ibarrier(base, &request), "MPI_Ibarrier");
      operation.add_request(request);
    });
    std::vector<OperationPtr> pending;
    locked([&] { pending = active_; });
    for (const OperationPtr& operation : pending) operation->timeout_s = options_.timeout_s;
    submit(farewell);
    pending.push_back(farewell);
    wait(pending);
    flight_.finish(Flight::Ending::Finalized);
  } catch (const std::exception& failure) {
    abort(failure.what(), 1);
  }
  std::lock_guard<std::mutex> lock(mutex_);
  ready_.store(false);
  MPI_Finalize();
}

void Engine::abort(const std::string& message, int code) {
  alarm(10);  // SIGALRM ends this process if MPI_Abort does not
  int is_initialized = 0, is_finalized = 0;
  MPI_Initialized(&is_initialized);
  MPI_Finalized(&is_finalized);
  flight_.finish(Flight::Ending::Aborted);
  ready_.store(false);  // MPI_Abort may call exit(), whose handlers must find nothing to do
  if (!message.empty()) {
    std::fprintf(stderr, "rank %d: %s\n", rank_, message.c_str());
    std::fflush(stderr);
  }
  if (is_initialized && !is_finalized) MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

}  // namespace mfugaku::comm

void mfugaku_comm_poke() { mfugaku::comm::Engine::instance().poke(); }
