// Runs one collective with the core's own schedules, executor and reductions on a simulated network: compiled with
// smpicxx of SimGrid, whose SMPI stands for MPI, and started by smpirun on a platform file.
//
//   simulate --collective=all_reduce|reduce_scatter|all_gather --algorithm=ring|doubling|halving|swing|lanes|mpi
//            --count=ELEMENTS [--type=float32|bfloat16] [--segments=N] [--scale=N] [--torus=24x12l] [--max-ports=N]
//            [--memory=BYTES_PER_S] [--wire=float32|bfloat16|float16] [--members=RANKS]
//
// `members` ranks in a row are a group, and all groups do the same at the same time; without it, all ranks are one.
// `count` is that of a group's whole vector. Without `segments`, it goes in as many as the MPI backend would choose for a
// vector `scale` times as long: vectors and bandwidths that are both shortened leave times as they are. All ranks begin
// at the same simulated time; rank 0 prints one JSON object with the time until the last rank is done and the number of
// wrong elements on all ranks; where messages carry halves in place of float32, those that are off by more than a tenth.
// Computing takes no time, but for reductions and copies where `memory`, the speed at which they read and write, is
// given. megatron_fugaku/bench/smpi.py describes the network to network.cpp and runs this.
#include <mpi.h>

#include <simgrid/s4u.hpp>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "../combine.h"
#include "../executor.h"
#include "../reduce.h"
#include "../schedule/choice.h"
#include "../transport/mpi.h"
#include "../wire.h"

namespace {

using namespace mfugaku::comm;
using schedule::Collective;
using schedule::Schedule;
using schedule::Task;

class SimulatedExecutor : public Executor {
 public:
  SimulatedExecutor(Schedule schedule, std::unique_ptr<Transport> transport, const Data& data, double bytes_per_s)
      : Executor(std::move(schedule), std::move(transport), data), bytes_per_s_(bytes_per_s) {}

 private:
  void on_work(int64_t num_bytes) override {
    if (bytes_per_s_ > 0) simgrid::s4u::this_actor::sleep_for(static_cast<double>(num_bytes) / bytes_per_s_);
  }
  double bytes_per_s_;
};

using Options = std::map<std::string, std::string>;

Options parse(int argc, char** argv) {
  Options options{{"collective", "all_reduce"}, {"algorithm", "ring"}, {"count", "1000000"}, {"type", "float32"},
                  {"segments", "0"}, {"scale", "1"}, {"torus", ""}, {"max-ports", "6"}, {"memory", "0"},
                  {"wire", "float32"}, {"members", "0"}};
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    if (argument.rfind("--", 0) != 0 || equals == std::string::npos || !options.count(argument.substr(2, equals - 2)))
      throw std::invalid_argument("unknown option " + argument);
    options[argument.substr(2, equals - 2)] = argument.substr(equals + 1);
  }
  return options;
}

Schedule build_schedule(const Options& options, const Task& task) {
  const std::string& name = options.at("algorithm");
  const int given = std::stoi(options.at("segments"));
  const auto num_segments = [&](const schedule::Torus& torus, int num_lanes) {
    const int64_t num_bytes = schedule::begins_of(task.counts).back() * 4 * std::stoll(options.at("scale"));
    return given > 0 ? given : schedule::num_segments_for(num_bytes, torus, num_lanes);
  };
  if (name == "ring") return schedule::ring(task, num_segments(schedule::Torus::ring(task.size()), 2));
  if (name == "doubling") return schedule::recursive_doubling(task);
  if (name == "halving") return schedule::recursive_halving(task);
  if (name == "swing") {
    const auto ring_or_torus = options.at("torus").empty() ? schedule::Torus::ring(task.size())
                                                           : schedule::Torus::parse(options.at("torus"));
    const int64_t num_bytes = schedule::begins_of(task.counts).back() * 4 * std::stoll(options.at("scale"));
    return schedule::swing(task, ring_or_torus, schedule::num_swing_lanes_for(num_bytes, ring_or_torus));
  }
  if (name != "lanes") throw std::invalid_argument("unknown algorithm " + name);
  const auto torus = schedule::Torus::parse(options.at("torus"));
  const auto lanes = schedule::weigh_lanes(torus, std::stoi(options.at("max-ports")));
  return schedule::torus_lanes(task, torus, lanes, num_segments(torus, static_cast<int>(lanes.size())));
}

// What rank `rank` gives as element i: small enough for sums over thousands of ranks to be exact in float32.
float contribution(int rank, int64_t i) { return static_cast<float>((rank + i) % 5); }

// One vector of all blocks per rank, which the collective works on in place.
class Problem {
 public:
  Problem(Collective collective, int rank, int size, int64_t count, DataType type)
      : task(schedule::all_reduce_task(rank, size, count)), type_(type), begins_(schedule::begins_of(task.counts)) {
    task.collective = collective;
    memory_.resize(static_cast<size_t>(count * size_of(type)) + 1);
    for (int r = 0; r < size; ++r)
      for (int i = 0; i < 5; ++i) sums_[i] += contribution(r, i);
    const int64_t begin = collective == Collective::AllGather ? own_begin() : 0;
    for (int64_t i = begin; i < (collective == Collective::AllGather ? own_end() : count); ++i)
      store(contribution(rank, i), at(i));
  }

  char* input() { return task.collective == Collective::AllGather ? at(own_begin()) : at(0); }
  char* output() { return task.collective == Collective::ReduceScatter ? at(own_begin()) : at(0); }
  int64_t count() const { return begins_.back(); }

  int64_t count_wrong(bool is_narrow) {
    const bool is_gather = task.collective == Collective::AllGather;
    const bool is_scattered = task.collective == Collective::ReduceScatter;
    int64_t wrong = 0, begin = is_scattered ? own_begin() : 0, end = is_scattered ? own_end() : count();
    int source = 0;
    for (int64_t i = begin; i < end; ++i) {
      while (i >= begins_[static_cast<size_t>(source) + 1]) ++source;
      char expected[4];
      store(is_gather ? contribution(source, i) : sums_[i % 5], expected);
      float value = 0, wanted = 0;
      if (is_narrow) std::memcpy(&value, at(i), sizeof value), std::memcpy(&wanted, expected, sizeof wanted);
      wrong += is_narrow ? std::fabs(value - wanted) > 0.1f * std::fabs(wanted)
                         : std::memcmp(at(i), expected, static_cast<size_t>(size_of(type_))) != 0;
    }
    return wrong;
  }

  Task task;

 private:
  int64_t own_begin() const { return begins_[static_cast<size_t>(task.rank)]; }
  int64_t own_end() const { return begins_[static_cast<size_t>(task.rank) + 1]; }
  char* at(int64_t i) { return memory_.data() + i * size_of(type_); }
  void store(float value, char* to) const {
    if (is_half(type_))
      narrow(type_, &value, 1, 1.0, to);
    else
      std::memcpy(to, &value, sizeof value);
  }

  DataType type_;
  std::vector<int64_t> begins_;
  std::vector<char> memory_;
  float sums_[5] = {};
};

void run_mpi(Problem& problem, int size, MPI_Comm group) {
  const int count = static_cast<int>(problem.count());
  switch (problem.task.collective) {
    case Collective::AllReduce:
      MPI_Allreduce(MPI_IN_PLACE, problem.output(), count, MPI_FLOAT, MPI_SUM, group);
      break;
    case Collective::ReduceScatter: {
      std::vector<float> result(static_cast<size_t>(count / size));
      MPI_Reduce_scatter_block(problem.input(), result.data(), count / size, MPI_FLOAT, MPI_SUM, group);
      std::memcpy(problem.output(), result.data(), result.size() * sizeof(float));
      break;
    }
    case Collective::AllGather:
      MPI_Allgather(MPI_IN_PLACE, 0, MPI_FLOAT, problem.output(), count / size, MPI_FLOAT, group);
      break;
  }
}

void simulate(const Options& options, int world_rank, int world_size) {
  const std::map<std::string, Collective> collectives{{"all_reduce", Collective::AllReduce},
                                                      {"reduce_scatter", Collective::ReduceScatter},
                                                      {"all_gather", Collective::AllGather}};
  const DataType type = options.at("type") == "bfloat16" ? DataType::BFloat16 : DataType::Float32;
  const DataType wire = wire_named(options.at("wire"));
  if (is_half(wire) && type != DataType::Float32)
    throw std::invalid_argument("a wire of halves is for data of float32");
  const int64_t count = std::stoll(options.at("count"));
  const int members = std::stoi(options.at("members")), size = members > 0 ? members : world_size;
  if (world_size % size != 0) throw std::invalid_argument("the groups do not take up all ranks");
  MPI_Comm group = MPI_COMM_WORLD;
  if (size < world_size) MPI_Comm_split(MPI_COMM_WORLD, world_rank / size, world_rank, &group);
  const int rank = world_rank % size;
  const bool is_mpi = options.at("algorithm") == "mpi";
  Problem problem(collectives.at(options.at("collective")), rank, size, count, type);
  Schedule schedule;
  if (!is_mpi) schedule = build_schedule(options, problem.task);
  if (is_mpi && (type != DataType::Float32 || count % size != 0))
    throw std::invalid_argument("mpi stands here for float32 in equal blocks");
  SimulatedExecutor executor(schedule, std::make_unique<MpiTransport>(group, 1, int64_t{1} << 30),
                             {problem.input(), problem.output(), type, Reduction::Sum, 1.0,
                              {wire, is_half(wire) && options.at("collective") == "all_reduce"}},
                             std::stod(options.at("memory")));

  double now = MPI_Wtime(), begin = 0;
  MPI_Allreduce(&now, &begin, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  begin += 1e-2;
  simgrid::s4u::this_actor::sleep_until(begin);
  if (is_mpi)
    run_mpi(problem, size, group);
  else
    executor.run();
  double time = MPI_Wtime() - begin, longest = 0;
  MPI_Allreduce(&time, &longest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  int64_t wrong = problem.count_wrong(is_half(wire)), all_wrong = 0;
  MPI_Allreduce(&wrong, &all_wrong, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
  if (world_rank == 0)
    std::printf("{\"ranks\": %d, \"num_bytes\": %lld, \"time_s\": %.9e, \"wrong\": %lld}\n", world_size,
                static_cast<long long>(count * size_of(type)), longest, static_cast<long long>(all_wrong));
}

}  // namespace

// SMPI looks it up by name.
__attribute__((visibility("default"))) int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  try {
    simulate(parse(argc, argv), rank, size);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return 0;
}
