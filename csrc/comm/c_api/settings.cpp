#include "settings.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <vector>

#include "../schedule/choice.h"

namespace mfugaku::comm {
namespace {

struct Setting {
  const char* name;
  void (*read)(const std::string& text, Settings& settings);  // throws std::invalid_argument with what is wrong
};

bool flag_of(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* word : {"1", "true", "yes", "on"})
    if (text == word) return true;
  for (const char* word : {"0", "false", "no", "off"})
    if (text == word) return false;
  throw std::invalid_argument("is neither true nor false");
}

long long whole_number_of(const std::string& text, long long least, long long most) {
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || errno != 0 || value < least || value > most)
    throw std::invalid_argument("is no whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return value;
}

double seconds_of(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value > 0)) throw std::invalid_argument("is no number of seconds above 0");
  return value;
}

int64_t bytes_of(std::string text) {
  const std::string units = "KMGT";
  const size_t unit = text.empty() ? std::string::npos : units.find(text.back());
  if (unit != std::string::npos) text.pop_back();
  const int shift = unit == std::string::npos ? 0 : 10 * (static_cast<int>(unit) + 1);
  return static_cast<int64_t>(whole_number_of(text, 0, INT64_MAX >> shift)) << shift;
}

void read_transport(const std::string& text, Settings& settings) {
  if (text != "auto" && text != "mpi" && text != "utofu") throw std::invalid_argument("is none of auto, mpi, utofu");
  settings.engine.shared_memory = text != "mpi";
  settings.engine.utofu = text == "utofu";
}

void read_algorithms(const std::string& text, Settings& settings) {
  schedule::ChoiceTable().set(text);  // for its complaint
  settings.algorithms = text;
}

const Setting kSettings[] = {
    {"MFUGAKU_COMM_TIMEOUT_S", [](const std::string& text, Settings& s) { s.engine.timeout_s = seconds_of(text); }},
    {"MFUGAKU_COMM_PROGRESS_THREAD",
     [](const std::string& text, Settings& s) { s.engine.progress_thread = flag_of(text); }},
    {"MFUGAKU_COMM_PROGRESS_CORE",
     [](const std::string& text, Settings& s) {
       s.engine.progress_core = static_cast<int>(whole_number_of(text, -1, 1 << 20));
       s.engine.progress_thread |= s.engine.progress_core >= 0;
     }},
    {"MFUGAKU_COMM_TRANSPORT", read_transport},
    {"MFUGAKU_COMM_ALGORITHM", read_algorithms},
    {"MFUGAKU_COMM_RANKS_PER_NODE",
     [](const std::string& text, Settings& s) {
       s.engine.ranks_per_node = static_cast<int>(whole_number_of(text, 0, 99999999));
     }},
    {"MFUGAKU_COMM_FLIGHT_DIR", [](const std::string& text, Settings& s) { s.flight_folder = text; }},
    {"MFUGAKU_COMM_ARENA_BYTES", [](const std::string& text, Settings& s) { s.arena_bytes = bytes_of(text); }},
};

std::map<std::string, std::string>& given() {
  static auto* values = new std::map<std::string, std::string>();  // never destroyed: exit handlers may still ask
  return *values;
}

}  // namespace

void set_setting(const std::string& name, const std::string& value) {
  const bool is_known = std::any_of(std::begin(kSettings), std::end(kSettings),
                                    [&](const Setting& setting) { return name == setting.name; });
  if (!is_known) {
    std::string names;
    for (const Setting& setting : kSettings) names += (names.empty() ? "" : ", ") + std::string(setting.name);
    throw std::invalid_argument("no setting is called '" + name + "'; known are " + names);
  }
  given()[name] = value;
}

Settings read_settings() {
  Settings settings;
  for (const Setting& setting : kSettings) {
    const auto found = given().find(setting.name);
    const char* value = found != given().end() ? found->second.c_str() : std::getenv(setting.name);
    if (value == nullptr) continue;
    try {
      setting.read(value, settings);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(std::string(setting.name) + "='" + value + "' " + error.what() + ". [" +
                                  setting.name + "]");
    }
  }
  return settings;
}

}  // namespace mfugaku::comm
