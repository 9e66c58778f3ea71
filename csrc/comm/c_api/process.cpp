// mfugaku_comm.h: what concerns the process.
#include <cstdio>
#include <filesystem>
#include <map>
#include <system_error>

#include "../build_facts.h"
#include "../schedule/choice.h"
#include "../shared/arena.h"
#include "guarded.h"
#include "members.h"
#include "settings.h"

namespace mfugaku::comm {
namespace {

thread_local char last_error[1024] = "";

// Where `mfugaku xray` looks for a rank's record (megatron_fugaku/flight/files.py).
std::string flight_path(const std::string& folder, int rank) {
  char name[32];
  std::snprintf(name, sizeof(name), "rank_%05d.flight", rank);
  std::error_code refusal;
  std::filesystem::create_directories(folder, refusal);
  if (refusal)
    throw CommFailure("the flight recorder cannot make " + folder + ": " + refusal.message() +
                      ". [MFUGAKU_COMM_FLIGHT_DIR]");
  return folder + "/" + name;
}

std::string describe_build() {
  auto facts = build_facts();
  std::string library = mpi_library_version();
  library.resize(std::min(library.find_first_of("\n\0", 0, 2), library.size()));
  return "megatron_fugaku comm, ABI " + std::to_string(MFUGAKU_COMM_ABI) + ", built for " + facts["mpi_vendor"] + " " +
         facts["mpi_version"] + " with " + facts["compiler"] + "; loaded is " + library;
}

}  // namespace

int note_error(mfugaku_comm_status status, const char* text) noexcept {
  std::snprintf(last_error, sizeof(last_error), "%s", text);
  return status;
}

}  // namespace mfugaku::comm

using namespace mfugaku::comm;

int mfugaku_comm_abi(void) { return MFUGAKU_COMM_ABI; }

const char* mfugaku_comm_version(void) {
  static char text[512] = "";
  guarded([] {
    static const std::string description = describe_build();
    if (text[0] == '\0') std::snprintf(text, sizeof(text), "%s", description.c_str());
  });
  return text;
}

const char* mfugaku_comm_last_error(void) { return last_error; }

int mfugaku_comm_set(const char* name, const char* value) {
  return guarded([&] {
    require_argument(name != nullptr && value != nullptr, "a setting has a name and a value");
    if (is_ready()) throw std::invalid_argument("settings are read by mfugaku_comm_start, which was called already");
    set_setting(name, value);
  });
}

int mfugaku_comm_check_settings(void) {
  return guarded([] {
    if (read_settings().engine.utofu && !has_utofu())
      throw std::invalid_argument("uTofu was asked for, but this library was built without. [MFUGAKU_COMM_TRANSPORT]");
  });
}

int mfugaku_comm_start(void) {
  return guarded([] {
    check_mpi_runs();
    if (is_ready()) return;
    const Settings settings = read_settings();
    schedule::ChoiceTable::instance().set(settings.algorithms);
    Arena::instance().set_capacity(settings.arena_bytes);
    const auto [rank, size] = initialize(settings.engine);
    if (!settings.flight_folder.empty()) record_flight(flight_path(settings.flight_folder, rank));
  });
}

int mfugaku_comm_set_algorithms(const char* rules) {
  return guarded([&] {
    require_argument(rules != nullptr, "the rules are NULL");
    schedule::ChoiceTable::instance().set(rules);
  });
}

void* mfugaku_comm_allocate(int64_t num_bytes) {
  void* memory = nullptr;
  guarded([&] {
    require_argument(num_bytes >= 0, "memory of less than 0 bytes was asked for");
    Arena& arena = Arena::instance();
    const std::string refusal = arena.refusal();
    if (!refusal.empty()) throw CommFailure("ranks cannot share memory: " + refusal);
    memory = arena.allocate(num_bytes);
    if (memory == nullptr)
      throw CommFailure("no room is left for " + std::to_string(num_bytes) + " bytes. [MFUGAKU_COMM_ARENA_BYTES]");
  });
  return memory;
}

void mfugaku_comm_release(void* memory) {
  guarded([&] {
    if (memory != nullptr) Arena::instance().release(memory);
  });
}
