// Runs cases of the kernels between the marks of emulator/marks.h, for the counter there:
//
//   kernel_bench [--list] [--whole|--deep] [--isa=NAME] [--threads=N] [CASE...]
//
// One line of JSON on standard output for every case, in the order of their regions. A CASE is the name of one, or a
// part of it; without any all are run. --threads shares the work of a case among so many threads as torch's
// parallel_for does.
#include <pthread.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "bench/case.h"
#include "emulator/marks.h"

namespace mfugaku::bench {
namespace {

struct Options {
  bool lists_only = false;
  Shapes shapes = Shapes::Small;
  int64_t num_threads = 1;
  std::vector<std::string> words;
};

[[noreturn]] void refuse(const std::string& what) {
  std::fprintf(stderr, "kernel_bench: %s\n", what.c_str());
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--list") {
      options.lists_only = true;
    } else if (word == "--whole") {
      options.shapes = Shapes::Whole;
    } else if (word == "--deep") {
      options.shapes = Shapes::Deep;
    } else if (word.rfind("--isa=", 0) == 0) {
      if (!kernels::parse_isa(word.substr(6), chosen_isa)) refuse(word + " names no instruction set");
    } else if (word.rfind("--threads=", 0) == 0) {
      options.num_threads = std::atoll(word.c_str() + 10);
      if (options.num_threads < 1) refuse(word + " is no number of threads");
    } else if (word.rfind("--", 0) == 0) {
      refuse(word + " is not an option");
    } else {
      options.words.push_back(word);
    }
  }
  return options;
}

bool is_asked_for(const Case& item, const std::vector<std::string>& words) {
  const auto is_in_name = [&item](const std::string& word) { return name_of(item).find(word) != std::string::npos; };
  return words.empty() || std::any_of(words.begin(), words.end(), is_in_name);
}

#if defined(__aarch64__)
using emulator::begin_region, emulator::end_region;
#else
void begin_region() {}
void end_region() {}
#endif

void run_marked(const Run& run) {
  const Parallel alone = [](int64_t count, int64_t, const Body& body) { body(0, count); };
  begin_region();
  run(alone);
  end_region();
}

// Threads that are there from the beginning to the end, so that each is counted by itself and starting them is not.
class Threads {
 public:
  explicit Threads(int64_t num_threads) {
    pthread_barrier_init(&barrier_, nullptr, static_cast<unsigned>(num_threads) + 1);
    for (int64_t thread = 0; thread < num_threads; ++thread) threads_.emplace_back([this, thread] { serve(thread); });
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() {
    body_ = nullptr;
    pthread_barrier_wait(&barrier_);
    for (std::thread& thread : threads_) thread.join();
    pthread_barrier_destroy(&barrier_);
  }

  void run(int64_t count, int64_t grain, const Body& body) {
    count_ = count;
    grain_ = grain;
    body_ = &body;
    pthread_barrier_wait(&barrier_);
    pthread_barrier_wait(&barrier_);
  }

 private:
  static int64_t in_parts_of(int64_t count, int64_t part) { return (count + part - 1) / part; }

  void serve(int64_t thread) {
    while (true) {
      pthread_barrier_wait(&barrier_);
      if (body_ == nullptr) return;
      // As at::parallel_for does with OpenMP: no more threads than there are grains, and equal chunks for all but the
      // last of them.
      const auto num_threads = static_cast<int64_t>(threads_.size());
      const int64_t used = std::max<int64_t>(1, std::min(num_threads, in_parts_of(count_, grain_)));
      const int64_t chunk = in_parts_of(count_, used), begin = thread * chunk;
      if (begin < count_) (*body_)(begin, std::min(begin + chunk, count_));
      pthread_barrier_wait(&barrier_);
    }
  }

  pthread_barrier_t barrier_;
  std::vector<std::thread> threads_;
  const Body* body_ = nullptr;
  int64_t count_ = 0, grain_ = 1;
};

void run_marked_on_threads(const Run& run, int64_t num_threads) {
  Threads threads(num_threads);
  const Parallel shared = [&](int64_t count, int64_t grain, const Body& body) { threads.run(count, grain, body); };
  begin_region();
  run(shared);
  end_region();
}

void print(const Case& item, bool with_error) {
  std::string shape;
  for (const int64_t length : item.shape) shape += (shape.empty() ? "" : ",") + std::to_string(length);
  char error[40] = "";
  if (with_error) std::snprintf(error, sizeof error, ",\"error\":%.3e", item.measure_error());
  std::printf("{\"case\":\"%s\",\"op\":\"%s\",\"variant\":\"%s\",\"dtype\":\"%s\",\"shape\":[%s],\"unit\":\"%s\","
              "\"num_units\":%" PRId64 ",\"num_bytes\":%" PRId64 ",\"vector_bytes\":%d%s}\n",
              name_of(item).c_str(), item.op.c_str(), item.variant.c_str(), item.dtype.c_str(), shape.c_str(),
              item.unit.c_str(), item.num_units, item.num_bytes, kernels::sve_vector_bytes(), error);
}

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  bool found = false;
  for (const Case& item : list_cases(options.shapes)) {
    if (!is_asked_for(item, options.words)) continue;
    found = true;
    if (!options.lists_only && options.num_threads == 1) run_marked(item.prepare(1));
    if (!options.lists_only && options.num_threads > 1)
      run_marked_on_threads(item.prepare(options.num_threads), options.num_threads);
    print(item, !options.lists_only && options.num_threads == 1 && item.measure_error != nullptr);
  }
  if (!found) refuse("no case has such a name; --list prints all");
  return 0;
}

}  // namespace
}  // namespace mfugaku::bench

int main(int argc, char** argv) { return mfugaku::bench::main(argc, argv); }
