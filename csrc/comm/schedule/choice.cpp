#include "choice.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace mfugaku::comm::schedule {
namespace {

constexpr std::array<const char*, 3> kCollectives = {"all_reduce", "reduce_scatter", "all_gather"};
constexpr std::array<const char*, 7> kAlgorithms = {"mpi", "pieces", "ring", "doubling", "halving", "swing", "lanes"};
const std::string kHierarchical = "hierarchical";

// Few segments leave links idle at the beginning and the end; many are many messages, and a rank serves those of all
// lanes: it must not be busier with messages than its links are. So the mean message of a lane is of this length for
// every lane, which takes a link of 6.8 GB/s 3 us; and more segments would gain nothing, as simulations say.
constexpr int64_t kMinMessageBytesPerLane = 20 * 1024;
constexpr int64_t kMaxSegments = 64;

// A lane more is a message more in every round, worth it while a link takes longer for what it relieves it of.
constexpr int64_t kMinSwingLaneBytes = 32 * 1024;

// Every dimension of more than one rank once, in any order, with a direction.
bool fits_torus(const Lane& lane, const Torus& torus) {
  std::vector<int> expected, found = lane.order;
  for (int d = 0; d < torus.num_dimensions(); ++d)
    if (torus.length(d) > 1) expected.push_back(d);
  std::sort(found.begin(), found.end());
  return found == expected && lane.directions.size() == found.size() && lane.weight > 0 &&
         std::all_of(lane.directions.begin(), lane.directions.end(), [](int d) { return d == 1 || d == -1; });
}

template <size_t N>
int index_of(const std::array<const char*, N>& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? -1 : static_cast<int>(found - names.begin());
}

[[noreturn]] void refuse(const std::string& rule, const std::string& why) {
  throw std::invalid_argument("'" + rule + "' is no rule for an algorithm: " + why +
                              ". Ranks would not know how to carry out collectives. Write rules like all_reduce=ring "
                              "or reduce_scatter:65536=lanes:2x3. [MFUGAKU_COMM_ALGORITHM]");
}

}  // namespace

Collective collective_named(const std::string& name) {
  const int number = index_of(kCollectives, name);
  if (number < 0) throw std::invalid_argument("'" + name + "' is none of all_reduce, reduce_scatter, all_gather");
  return static_cast<Collective>(number);
}

int64_t num_rounds_on(const Torus& torus) {
  int64_t num_rounds = 0;
  for (const Dimension& dimension : torus.dimensions()) num_rounds += dimension.length - 1;
  return num_rounds;
}

int num_segments_for(int64_t num_bytes, const Torus& torus, int num_lanes) {
  const int64_t num_rounds = num_rounds_on(torus);
  if (num_rounds == 0) return 1;
  const int64_t fitting = num_bytes / num_lanes / num_rounds / (num_lanes * kMinMessageBytesPerLane);
  return static_cast<int>(std::clamp<int64_t>(fitting, 1, kMaxSegments));
}

int num_swing_lanes_for(int64_t num_bytes, const Torus& torus) {
  return static_cast<int>(std::clamp<int64_t>(num_bytes / kMinSwingLaneBytes, 1, most_swing_lanes(torus)));
}

Schedule Choice::build(const Task& task, int64_t element_bytes, int ranks_of_group) const {
  const int64_t num_bytes = begins_of(task.counts).back() * element_bytes;
  if (!is_hierarchical) return build_flat(task, num_bytes);
  const int num_local = ranks_per_node > 0 ? ranks_per_node : ranks_of_group;
  // Chunks differ in length; all ranks must have strands alike.
  return hierarchical(task, num_local, [&](const Task& inner) { return build_flat(inner, num_bytes / num_local); });
}

Schedule Choice::build_flat(const Task& task, int64_t num_bytes) const {
  switch (algorithm) {
    case Algorithm::Ring:
      return ring(task, num_segments_for(num_bytes, Torus::ring(task.size()), task.size() > 2 ? 2 : 1));
    case Algorithm::Doubling: return recursive_doubling(task);
    case Algorithm::Halving: return recursive_halving(task);
    case Algorithm::Swing: {
      const Torus torus = plan ? plan->torus : Torus::ring(task.size());
      return swing(task, torus, num_swing_lanes_for(num_bytes, torus));
    }
    case Algorithm::Lanes:
      return torus_lanes(task, plan->torus, plan->lanes,
                         num_segments_for(num_bytes, plan->torus, static_cast<int>(plan->lanes.size())));
    case Algorithm::Mpi: case Algorithm::Pieces: break;
  }
  throw std::logic_error(name() + " is no schedule");
}

Choice Choice::of_lanes(const std::string& shape, std::vector<int> places, std::vector<Lane> lanes) {
  Torus torus = Torus::parse(shape).with_places(std::move(places));
  double sum = 0;
  for (const Lane& lane : lanes) {
    if (!fits_torus(lane, torus)) throw std::invalid_argument("a lane does not go through the torus " + shape);
    sum += lane.weight;
  }
  if (std::abs(sum - 1) > 1e-6) throw std::invalid_argument("the lanes carry " + std::to_string(sum) + " of a vector");
  for (Lane& lane : lanes) lane.weight /= sum;
  Choice choice;
  choice.algorithm = Algorithm::Lanes;
  choice.plan = std::make_shared<const TorusPlan>(TorusPlan{shape, std::move(torus), std::move(lanes)});
  return choice;
}

std::string Choice::name() const {
  const std::string flat = std::string(kAlgorithms[static_cast<size_t>(algorithm)]) + (plan ? ":" + plan->shape : "");
  if (!is_hierarchical) return flat;
  return kHierarchical + (ranks_per_node > 0 ? ":" + std::to_string(ranks_per_node) : "") + "+" + flat;
}

bool Choice::can(const Case& wanted) const {
  int num_ranks = wanted.num_ranks;
  if (is_hierarchical) {
    const int num_local = ranks_per_node > 0 ? ranks_per_node : wanted.ranks_per_node;
    if (num_local < 2 || num_ranks % num_local != 0 || num_ranks == num_local) return false;
    num_ranks /= num_local;
  }
  if (plan && plan->torus.size() != num_ranks) return false;
  if (algorithm == Algorithm::Mpi) return wanted.mpi_can;
  // Its halves are not to be had apart.
  if (algorithm == Algorithm::Doubling) return wanted.collective == Collective::AllReduce && !is_hierarchical;
  return true;
}

bool ChoiceTable::Rule::fits(const Case& wanted) const {
  if (!is_for_all && collective != wanted.collective) return false;
  if (wanted.num_bytes < min_bytes) return false;
  if (num_ranks > 0 && wanted.num_ranks != num_ranks) return false;
  return choice.can(wanted);
}

std::string ChoiceTable::Rule::describe() const {
  std::string text = is_for_all ? "all" : kCollectives[static_cast<size_t>(collective)];
  if (num_ranks > 0) text += "@" + std::to_string(num_ranks);
  if (min_bytes > 0) text += ":" + std::to_string(min_bytes);
  text += "=" + choice.name();
  return text;
}

Choice Choice::parse(std::string algorithm, const std::string& rule) {
  Choice choice;
  if (algorithm.rfind(kHierarchical, 0) == 0) {
    const size_t plus = std::min(algorithm.find('+'), algorithm.size());
    const std::string ranks = algorithm.substr(kHierarchical.size(), plus - kHierarchical.size());
    const bool is_number = ranks.size() > 1 && ranks.size() < 8 && ranks[0] == ':' &&
                           ranks.find_first_not_of("0123456789", 1) == std::string::npos;
    if (is_number) choice.ranks_per_node = std::stoi(ranks.substr(1));
    if (plus == algorithm.size() || !(ranks.empty() || choice.ranks_per_node > 1))
      refuse(rule, "hierarchical is written hierarchical+SCHEDULE, or hierarchical:RANKS+SCHEDULE with 2 ranks per "
                   "node and more");
    choice.is_hierarchical = true;
    algorithm.erase(0, plus + 1);
  }
  const size_t colon = algorithm.find(':');
  const bool has_shape = colon != std::string::npos;
  const int chosen = index_of(kAlgorithms, algorithm.substr(0, colon));
  if (chosen < 0)
    refuse(rule, "'" + algorithm + "' is none of mpi, pieces, ring, doubling, halving, swing, swing:SHAPE, lanes:SHAPE");
  choice.algorithm = static_cast<Algorithm>(chosen);
  if (choice.is_hierarchical && (!choice.is_schedule() || choice.algorithm == Algorithm::Doubling))
    refuse(rule, "between nodes of several ranks go ring, halving, swing, swing:SHAPE and lanes:SHAPE");
  const bool takes_shape = choice.algorithm == Algorithm::Lanes || choice.algorithm == Algorithm::Swing;
  if (has_shape && !takes_shape) refuse(rule, algorithm.substr(0, colon) + " takes no shape");
  if (!has_shape && choice.algorithm != Algorithm::Lanes) return choice;
  const std::string shape = has_shape ? algorithm.substr(colon + 1) : "";
  try {
    Torus torus = Torus::parse(shape);
    std::vector<Lane> lanes = weigh_lanes(torus, kNetworkInterfaces);
    choice.plan = std::make_shared<const Choice::TorusPlan>(
        Choice::TorusPlan{shape, std::move(torus), std::move(lanes)});
  } catch (const std::invalid_argument& failure) {
    refuse(rule, "'" + shape + "' is no shape of a torus like 24x12l");
  }
  return choice;
}

ChoiceTable::Rule ChoiceTable::parse(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) refuse(text, "there is no = in it");
  std::string collective = text.substr(0, equals), algorithm = text.substr(equals + 1);
  Rule rule{};
  if (const size_t colon = collective.find(':'); colon != std::string::npos) {
    const std::string digits = collective.substr(colon + 1);
    if (digits.empty() || digits.size() > 15 || digits.find_first_not_of("0123456789") != std::string::npos)
      refuse(text, "'" + digits + "' is no number of bytes");
    rule.min_bytes = std::stoll(digits);
    collective.resize(colon);
  }
  if (const size_t at = collective.find('@'); at != std::string::npos) {
    const std::string digits = collective.substr(at + 1);
    if (digits.empty() || digits.size() > 7 || digits.find_first_not_of("0123456789") != std::string::npos)
      refuse(text, "'" + digits + "' is no number of ranks");
    rule.num_ranks = std::stoi(digits);
    collective.resize(at);
  }
  rule.is_for_all = collective == "all";
  const int number = index_of(kCollectives, collective);
  if (!rule.is_for_all && number < 0)
    refuse(text, "'" + collective + "' is none of all_reduce, reduce_scatter, all_gather, all");
  if (!rule.is_for_all) rule.collective = static_cast<Collective>(number);
  rule.choice = Choice::parse(std::move(algorithm), text);
  if (rule.choice.algorithm == Algorithm::Doubling && !rule.is_for_all && rule.collective != Collective::AllReduce)
    refuse(text, "doubling is an algorithm for all_reduce alone");
  return rule;
}

ChoiceTable::ChoiceTable() {
  for (const char* name : {"mpi", "pieces", "doubling", "halving", "ring", "hierarchical+ring", "hierarchical+halving"})
    candidates_.push_back(Choice::parse(name, name));
}

ChoiceTable& ChoiceTable::instance() {
  static auto* const table = new ChoiceTable();  // never destroyed: collectives may run during exit
  return *table;
}

void ChoiceTable::set(const std::string& text, const std::string& measured) {
  std::vector<Rule> rules;
  const auto add = [&rules](const std::string& list, const char* source) {
    for (size_t begin = 0; begin < list.size();) {
      const size_t end = std::min(list.find(',', begin), list.size());
      rules.push_back(parse(list.substr(begin, end - begin)));
      rules.back().source = source;
      begin = end + 1;
    }
  };
  add(text, "asked for");
  add(measured, "measured");
  rules_ = std::move(rules);
}

template <typename Take> void ChoiceTable::weigh(const Case& wanted, const Take& take) const {
  const Costs costs = costs_for(wanted);
  const auto weigh_one = [&](const Choice& choice) {
    // A narrow wire is one of schedules.
    if (choice.can(wanted) && (!wanted.is_narrow || choice.may_be_narrow()))
      take(choice, expected_s(choice, wanted, costs));
  };
  if (wanted.placed != nullptr) weigh_one(*wanted.placed);
  for (const Choice& choice : candidates_) weigh_one(choice);
}

const Choice& ChoiceTable::choose(const Case& wanted) const {
  const auto given = std::find_if(rules_.begin(), rules_.end(), [&](const Rule& rule) { return rule.fits(wanted); });
  if (given != rules_.end()) return given->choice;
  const Choice* best = nullptr;
  double least_s = 0;
  weigh(wanted, [&](const Choice& choice, double seconds) {
    if (best == nullptr || seconds < least_s) best = &choice, least_s = seconds;
  });
  return *best;
}

std::vector<std::pair<const Choice*, double>> ChoiceTable::expect(const Case& wanted) const {
  std::vector<std::pair<const Choice*, double>> expected;
  weigh(wanted, [&](const Choice& choice, double seconds) { expected.emplace_back(&choice, seconds); });
  std::stable_sort(expected.begin(), expected.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return expected;
}

std::vector<std::string> ChoiceTable::describe() const {
  std::vector<std::string> lines;
  for (const Rule& rule : rules_) lines.push_back(rule.describe());
  return lines;
}

std::vector<std::string> ChoiceTable::sources() const {
  std::vector<std::string> names;
  for (const Rule& rule : rules_) names.push_back(rule.source);
  return names;
}

}  // namespace mfugaku::comm::schedule
