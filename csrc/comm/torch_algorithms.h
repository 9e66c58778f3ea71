// What Python asks of the choice of algorithms.
// Included by torch_backend.cpp alone, as torch's headers are slow to compile.
#pragma once

#include <torch/csrc/utils/pybind.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "rehearsal.h"
#include "schedule/choice.h"
#include "torch_tensors.h"
#include "wire.h"

namespace mfugaku::comm {

inline std::pair<double, double> wire_error(const std::string& algorithm, int num_ranks, int64_t count,
                                            const std::string& wire) {
  const auto choice = schedule::Choice::parse(algorithm, algorithm);
  if (!choice.may_be_narrow() || !choice.can({schedule::Collective::AllReduce, count * 4, num_ranks, false, false}))
    throw std::invalid_argument("'" + algorithm + "' is no schedule for " + std::to_string(num_ranks) +
                                " ranks with messages that may be narrow");
  const auto build = [&](const schedule::Task& task) { return choice.build(task, 4); };
  const SumError error = error_of_all_reduce(num_ranks, count, build, wire_named(wire));
  return {error.largest, error.rms};
}

inline schedule::Case case_of(const std::string& collective, int64_t num_bytes, int num_ranks, int ranks_per_node,
                              bool is_half) {
  return {schedule::collective_named(collective), num_bytes, num_ranks, is_half,
          !is_half || collective != "reduce_scatter", ranks_per_node};
}

inline std::vector<std::pair<std::string, double>> expected_times(const std::string& collective, int64_t num_bytes,
                                                                  int num_ranks, int ranks_per_node, bool is_half) {
  return translated([&] {
    const schedule::ChoiceTable& table = schedule::ChoiceTable::instance();
    const schedule::Case wanted = case_of(collective, num_bytes, num_ranks, ranks_per_node, is_half);
    const schedule::Choice& chosen = table.choose(wanted);
    std::vector<std::pair<std::string, double>> times = {
        {chosen.name(), schedule::expected_s(chosen, wanted, table.costs_for(wanted))}};
    for (const auto& [choice, seconds] : table.expect(wanted))
      if (choice->name() != times[0].first) times.emplace_back(choice->name(), seconds);
    return times;
  });
}

inline std::array<double, schedule::Costs::kNumber> cost_terms(const std::string& collective, int64_t num_bytes,
                                                               int num_ranks, int ranks_per_node,
                                                               const std::string& algorithm) {
  return translated([&] {
    return schedule::terms_of(schedule::Choice::parse(algorithm, algorithm),
                              case_of(collective, num_bytes, num_ranks, ranks_per_node, false));
  });
}

inline void define_algorithms(py::module_& module) {
  using NoGil = py::call_guard<py::gil_scoped_release>;
  module.def("algorithms", [] { return schedule::ChoiceTable::instance().describe(); },
             "The rules, one a line, of which the first that fits chooses a collective's algorithm.");
  module.def("algorithm_sources", [] { return schedule::ChoiceTable::instance().sources(); },
             "Where each of these rules comes from: asked for or measured.");
  module.def("set_algorithms",
             [](const std::string& text, const std::string& measured) {
               translated([&] { schedule::ChoiceTable::instance().set(text, measured); });
             },
             py::arg("text"), py::arg("measured") = "",
             "Rules as in MFUGAKU_COMM_ALGORITHM; alike on all ranks, with no collective in flight.");
  module.def("cost_names", [] { return schedule::Costs::kNames; });
  module.def("costs", [] { return schedule::ChoiceTable::instance().costs_for({}).values(); },
             "Seconds by which the model chooses where no rule fits, in the order of `cost_names`.");
  module.def("set_costs",
             [](const std::vector<double>& values) {
               translated([&] { schedule::ChoiceTable::instance().set_costs(schedule::Costs::of(values)); });
             },
             py::arg("values"), "Alike on all ranks, with no collective in flight.");
  module.def("expected_times", &expected_times, py::arg("collective"), py::arg("num_bytes"), py::arg("num_ranks"),
             py::arg("ranks_per_node") = 1, py::arg("is_half") = false,
             "Names of the algorithms that can carry a collective, with the seconds that the model expects; the chosen "
             "one first, whether a rule or the model chose it.");
  module.def("cost_terms", &cost_terms, py::arg("collective"), py::arg("num_bytes"), py::arg("num_ranks"),
             py::arg("ranks_per_node"), py::arg("algorithm"), "What costs are multiplied by.");
  module.def(
      "wire_error",
      [](const std::string& algorithm, int num_ranks, int64_t count, const std::string& wire) {
        return translated([&] { return wire_error(algorithm, num_ranks, count, wire); });
      },
      NoGil(), "Largest and rms difference from float64 of a sum over so many ranks, rehearsed in this process.");
}

}  // namespace mfugaku::comm
