#include "kernels/registry.h"

#include <cstdlib>
#include <map>
#include <set>

namespace mfugaku::kernels {
namespace {

constexpr const char* kVariable = "MFUGAKU_KERNELS";
constexpr const char* kAll = "all";

[[noreturn]] void refuse(const std::string& what, const std::string& why, const std::string& fix) {
  throw ChoiceError(what + ". " + why + ". " + fix + ". [" + kVariable + "]");
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::vector<std::string> ops() {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const Row& row : table())
    if (seen.insert(row.op).second) names.push_back(row.op);
  return names;
}

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

// "reduce=neon,all=portable" as a map; every word is checked.
std::map<std::string, Isa> parse(const std::string& forced) {
  std::map<std::string, Isa> wanted;
  const auto known = ops();
  for (size_t begin = 0; begin <= forced.size();) {
    const size_t end = std::min(forced.find(',', begin), forced.size());
    const std::string word = trimmed(forced.substr(begin, end - begin));
    begin = end + 1;
    if (word.empty()) continue;
    const size_t equals = word.find('=');
    if (equals == std::string::npos)
      refuse("'" + word + "' is not of the form kernel=instruction set", "It chooses nothing",
             "Write for example all=portable");
    const std::string op = trimmed(word.substr(0, equals)), name = trimmed(word.substr(equals + 1));
    bool is_op = op == kAll;
    for (const auto& other : known) is_op = is_op || op == other;
    if (!is_op)
      refuse("There is no kernel '" + op + "'", "The choice for it would silently do nothing",
             "Choose among " + join(known) + " and " + kAll);
    Isa isa;
    if (!parse_isa(name, isa))
      refuse("'" + name + "' is not an instruction set", "The choice for " + op + " cannot be made",
             "Choose among portable, avx2, avx512, neon and sve");
    if (!is_supported(isa))
      refuse("This CPU has no " + name + ", which is chosen for " + op,
             "Running it would end in an illegal instruction", "It has: " + describe_cpu());
    wanted[op] = isa;
  }
  return wanted;
}

// SVE vectors no longer than NEON's gain nothing over NEON.
bool is_worth_it(Isa isa) { return isa != Isa::Sve || sve_vector_bytes() > 16; }

Choice choose_best(const std::string& op) {
  for (const Row& row : table())
    if (op == row.op && is_supported(row.isa) && is_worth_it(row.isa))
      return {row.op, row.isa, row.kernels, "the widest that this CPU has: " + describe_cpu()};
  throw std::logic_error("no portable kernel for " + op);
}

}  // namespace

std::vector<Choice> choose(const std::string& forced) {
  const auto wanted = parse(forced);
  std::vector<Choice> result;
  for (const auto& op : ops()) {
    auto want = wanted.find(op);
    if (want == wanted.end()) want = wanted.find(kAll);
    if (want == wanted.end()) {
      result.push_back(choose_best(op));
      continue;
    }
    const size_t before = result.size();
    for (const Row& row : table())
      if (op == row.op && row.isa == want->second)
        result.push_back({row.op, row.isa, row.kernels, std::string(kVariable) + "=" + forced});
    if (result.size() == before)
      refuse("There is no kernel " + op + " for " + name_of(want->second), "The choice cannot be made",
             "Choose another instruction set for " + op);
  }
  return result;
}

const std::vector<Choice>& choices() {
  static const std::vector<Choice> made = [] {
    const char* forced = std::getenv(kVariable);
    return choose(forced == nullptr ? "" : forced);
  }();
  return made;
}

std::string describe_choices() {
  std::string lines;
  for (const Choice& choice : choices())
    lines += std::string(choice.op) + "\t" + name_of(choice.isa) + "\t" + choice.reason + "\n";
  return lines;
}

const void* chosen_kernels(const char* op) {
  for (const Choice& choice : choices())
    if (std::string(choice.op) == op) return choice.kernels;
  throw std::logic_error(std::string("unknown kernel ") + op);
}

}  // namespace mfugaku::kernels
