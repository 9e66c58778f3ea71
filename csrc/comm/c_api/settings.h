// What programs without Python read of the MFUGAKU_COMM_* variables; megatron_fugaku/environment.py says what they are.
#pragma once

#include <cstdint>
#include <string>

#include "../core.h"

namespace mfugaku::comm {

struct Settings {
  EngineOptions engine;
  std::string algorithms;
  std::string flight_folder;  // empty: nothing is recorded
  int64_t arena_bytes = 0;    // 0: what the machine has
};

// Wins over the environment variable of that name. Throws std::invalid_argument for a name that is none of them.
void set_setting(const std::string& name, const std::string& value);
// Throws std::invalid_argument naming the variable that cannot be understood.
Settings read_settings();

}  // namespace mfugaku::comm
