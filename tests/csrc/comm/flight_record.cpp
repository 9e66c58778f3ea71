// The flight recorder while several threads wait: written all the time, read by another mapping of its file.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>

#include "job.h"

namespace mfugaku::tests {

void check_flight(const Options& options) {
  comm::Engine& engine = comm::Engine::instance();
  const std::string path =
      "/tmp/mfugaku_comm_program." + std::to_string(getpid()) + "." + std::to_string(engine.rank());
  engine.record_flight(path);
  require_error<std::runtime_error>([&] { comm::Flight().open("/nowhere/at/all", 0, 1, 1); }, "/nowhere/at/all");
  Options fewer = options;
  fewer.num_rounds = 400;  // more operations than the record's ring has room for
  check_many_threads(fewer);
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::remove(path.c_str());
  require(text.compare(0, 16, "mfugaku flight 1") == 0, "the record does not begin as one");
  require(text.find("barrier") != std::string::npos, "the record has no operations");
}

}  // namespace mfugaku::tests
