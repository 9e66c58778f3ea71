// comm_program [--transport=mpi] [--progress-thread=1] [--progress-core=N] [--rounds=N] [--seed=N] [--timeout=S]
//              [--algorithms=RULES]
//              [--check=NAME]... [--plant=FAULT] [--kill=COLLECTIVE]   under mpirun
// comm_program --members=N [...]                        members of a node as threads of this process; no MPI is started
#include <algorithm>
#include <cstdio>
#include <utility>

#include "comm/schedule/choice.h"
#include "program.h"

namespace mfugaku::tests {
namespace {

using Check = std::pair<const char*, void (*)(const Options&)>;

const std::vector<Check> kChecksOfJobs = {
    {"random_collectives", check_random_collectives}, {"schedules", check_schedules},
    {"crossed_collectives", check_crossed_collectives}, {"callbacks", check_callbacks},
    {"many_threads", check_many_threads}, {"pokes", check_pokes}, {"messages", check_messages},
    {"flight", check_flight},
    {"misuse", check_misuse}, {"disagreements", check_disagreements}, {"mpi_entries", check_mpi_entries}};
const std::vector<Check> kChecksOfProcesses = {{"thread_members", check_thread_members}, {"arena", check_arena}};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = std::min(argument.find('='), argument.size());
    const std::string name = argument.substr(0, equals), value = argument.substr(std::min(equals + 1, argument.size()));
    if (name == "--transport") options.shared_memory = value != "mpi";
    else if (name == "--progress-thread") options.progress_thread = value != "0";
    else if (name == "--progress-core") options.progress_core = std::stoi(value);
    else if (name == "--rounds") options.num_rounds = std::stoll(value);
    else if (name == "--seed") options.seed = std::stoull(value);
    else if (name == "--timeout") options.timeout_s = std::stod(value);
    else if (name == "--algorithms") comm::schedule::ChoiceTable::instance().set(value);
    else if (name == "--members") options.num_members = std::stoi(value);
    else if (name == "--plant") options.plant = value;
    else if (name == "--kill") options.kill = value;
    else if (name == "--check") options.checks.push_back(value);
    else throw std::invalid_argument("unknown option " + argument);
  }
  return options;
}

void run_checks(const std::vector<Check>& checks, const Options& options, int rank) {
  if (!options.plant.empty()) {
    require(plant(options), "there is no fault named " + options.plant);
    std::printf("rank %d has planted %s\n", rank, options.plant.c_str());
    return;
  }
  if (!options.kill.empty()) return survive(options);
  for (const auto& [name, check] : checks) {
    if (!options.checks.empty() && std::count(options.checks.begin(), options.checks.end(), name) == 0) continue;
    const double begin_s = comm::now_s();
    try {
      check(options);
    } catch (const std::exception& failure) {
      throw Failure(std::string(name) + " (--seed=" + std::to_string(options.seed) + "): " + failure.what());
    }
    if (rank == 0) std::printf("passed: %s, %.2f s\n", name, comm::now_s() - begin_s);
  }
}

int run(const Options& options) {
  if (options.num_members > 0) {
    try {
      run_checks(kChecksOfProcesses, options, 0);
      return 0;
    } catch (const std::exception& failure) {
      std::fprintf(stderr, "%s\n", failure.what());
      return 1;
    }
  }
  comm::Engine& engine = comm::Engine::instance();
  try {
    engine.initialize({options.progress_thread, options.progress_core, true, options.timeout_s, options.shared_memory});
    run_checks(kChecksOfJobs, options, engine.rank());
  } catch (const std::exception& failure) {
    engine.abort(failure.what(), 1);
  }
  return 0;
}

}  // namespace

std::shared_ptr<comm::Group> make_group(const std::vector<int>& mpi_ranks, const Options& options) {
  static int number = 0;  // alike on all ranks: all of them count, also those that are not members
  const std::string name = "group " + std::to_string(number++);
  const int self = comm::Engine::instance().rank();
  const auto place = std::find(mpi_ranks.begin(), mpi_ranks.end(), self);
  if (place == mpi_ranks.end()) return nullptr;
  return comm::Group::create(name, mpi_ranks, static_cast<int>(place - mpi_ranks.begin()), options.timeout_s);
}

std::vector<int> all_ranks() {
  std::vector<int> ranks(static_cast<size_t>(comm::Engine::instance().size()));
  for (size_t i = 0; i < ranks.size(); ++i) ranks[i] = static_cast<int>(i);
  return ranks;
}

}  // namespace mfugaku::tests

int main(int argc, char** argv) {
  try {
    return mfugaku::tests::run(mfugaku::tests::parse(argc, argv));
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "comm_program: %s\n", failure.what());
    return 2;
  }
}
