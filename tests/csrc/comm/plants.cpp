// Faults on purpose. A sanitizer that finds none of these would find none elsewhere.
#include <cstring>
#include <thread>

#include "comm/shared/channel.h"
#include "job.h"

namespace mfugaku::tests {

std::vector<std::shared_ptr<comm::Channel>> make_thread_channels(int size, bool has_remote_reads);

namespace {

using comm::Engine;

// A result is read before it has been waited for: the engine's thread has written it, and nothing says so to the reader.
void read_too_early(const Options& options) {
  auto group = make_group(all_ranks(), options);
  auto data = allocate(4000, false);
  std::memset(data.get(), 0, 4000);
  int64_t sum = 0;
  for (int round = 0; round < 10; ++round) {
    // Who comes last finishes what it issues by itself.
    if (group->rank() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto operation = comm::all_reduce(*group, data.get(), 1000, comm::DataType::Int32, comm::Reduction::Sum, {});
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    for (int i = 0; i < 1000; ++i) sum += data.get()[4 * i];
    Engine::instance().wait({operation});
  }
  require(sum == 0, "zeros");
}

// Two threads in MPI without the engine's lock.
void call_mpi_unlocked(const Options&) {
  const auto body = [] {
    int flag = 0;
    for (int i = 0; i < 1000; ++i) MPI_Initialized(&flag);
  };
  std::thread other(body);
  body();
  other.join();
}

// The place for a gathered tensor is too short by one byte.
void gather_into_too_little(const Options& options) {
  auto group = make_group(all_ranks(), options);
  const auto size = static_cast<size_t>(group->size());
  auto own = allocate(1000, false);
  std::memset(own.get(), 1, 1000);
  std::vector<std::shared_ptr<char>> blocks;
  std::vector<void*> outs;
  for (size_t i = 0; i < size; ++i) {
    blocks.push_back(allocate(999, false));
    outs.push_back(blocks.back().get());
  }
  Engine::instance().wait({comm::all_gather(*group, own.get(), outs, std::vector<int64_t>(size, 1000), {})});
}

// A tensor goes away while its collective is under way.
void free_too_early(const Options& options) {
  auto group = make_group(all_ranks(), options);
  comm::OperationPtr operation;
  if (group->rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));  // the others cannot finish
  {
    auto data = allocate(4000, false);
    std::memset(data.get(), 0, 4000);
    operation = comm::all_reduce(*group, data.get(), 1000, comm::DataType::Int32, comm::Reduction::Sum, {});
  }
  Engine::instance().wait({operation});
}

void leak(const Options&) {
  char* volatile block = new char[12345];
  block = new char[1];
  delete[] block;
}

// A member writes into its slot while others may still read what stood there.
void write_into_a_busy_slot(const Options&) {
  const auto channels = make_thread_channels(2, false);
  std::thread reader([&] {
    while (!channels[1]->has_posted(0, 0)) std::this_thread::yield();
    require(channels[1]->input(0, 0)[0] >= 0, "a byte");
  });
  channels[0]->input(0, 0)[0] = 1;
  channels[0]->post(0);
  channels[0]->input(0, 0)[0] = 2;
  reader.join();
}

}  // namespace

bool plant(const Options& options) {
  const std::vector<std::pair<const char*, void (*)(const Options&)>> faults = {
      {"early-read", read_too_early},   {"unlocked-mpi", call_mpi_unlocked}, {"overflow", gather_into_too_little},
      {"early-free", free_too_early},   {"leak", leak},                      {"busy-slot", write_into_a_busy_slot}};
  for (const auto& [name, fault] : faults)
    if (options.plant == name) return fault(options), true;
  return false;
}

}  // namespace mfugaku::tests
