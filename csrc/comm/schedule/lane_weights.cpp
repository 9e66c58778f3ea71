// The share of each lane, by linear programming.
//
// A lane's reduce-scatter passes its share through the first dimension in a ring, what is left of it, 1/k, through the
// second, and so on; its all-gather goes the same way back. So each lane loads each direction of links with a known
// part of its share, and the largest load is to be smallest. Equal shares of rotated orders do not do that: on 2x3,
// where one dimension has one direction and the other two, they reach 80 % of what the links can carry.
//
// min T with A w <= T, sum w = 1, w >= 0 is a matrix game with a positive value; its other form, max sum y with
// A y <= 1, y >= 0 and w = y / sum y, has the origin to start a simplex method from.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "torus.h"

namespace mfugaku::comm::schedule {
namespace {

std::vector<int> long_dimensions(const Torus& torus) {
  std::vector<int> result;
  for (int d = 0; d < torus.num_dimensions(); ++d)
    if (torus.length(d) > 1) result.push_back(d);
  return result;
}

// Every order of the dimensions, once forwards and, where that is another way, once backwards in all rings. By
// symmetry, lanes of mixed directions cannot do better.
std::vector<Lane> candidates(const Torus& torus) {
  std::vector<int> order = long_dimensions(torus);
  std::vector<Lane> lanes;
  do {
    Lane forwards{order, std::vector<int>(order.size(), 1), 0};
    Lane backwards = forwards;
    for (size_t i = 0; i < order.size(); ++i)
      if (torus.dimensions()[static_cast<size_t>(order[i])].num_directions() == 2) backwards.directions[i] = -1;
    lanes.push_back(forwards);
    if (backwards.directions != forwards.directions) lanes.push_back(backwards);
  } while (std::next_permutation(order.begin(), order.end()));
  return lanes;
}

// What an all-reduce of a whole vector by this lane puts on the links of each direction (two rows per dimension), and
// in the last row on the rank's network interfaces, in units of the speed of one link.
std::vector<double> loads_of(const Torus& torus, const Lane& lane, int max_ports) {
  std::vector<double> loads(static_cast<size_t>(2 * torus.num_dimensions()) + 1, 0);
  double left = 1;
  for (size_t i = 0; i < lane.order.size(); ++i) {
    const int d = lane.order[i], length = torus.length(d);
    const double load = 2 * left * (length - 1) / length;
    loads[static_cast<size_t>(2 * d + (lane.directions[i] < 0 ? 1 : 0))] += load;
    loads.back() += load / max_ports;
    left /= length;
  }
  return loads;
}

// The y >= 0 with `columns` y <= 1 that has the largest sum. Bland's rule: it ends, and ends alike on every rank.
std::vector<double> maximize(const std::vector<std::vector<double>>& columns) {
  constexpr double kTiny = 1e-11;
  const size_t num_rows = columns[0].size(), num_columns = columns.size(), width = num_columns + num_rows + 1;
  std::vector<std::vector<double>> table(num_rows + 1, std::vector<double>(width, 0));  // the last row is the aim
  std::vector<size_t> basis(num_rows);
  for (size_t row = 0; row < num_rows; ++row) {
    for (size_t column = 0; column < num_columns; ++column) table[row][column] = columns[column][row];
    basis[row] = num_columns + row;
    table[row][basis[row]] = table[row][width - 1] = 1;
  }
  for (size_t column = 0; column < num_columns; ++column) table[num_rows][column] = 1;
  while (true) {
    size_t entering = 0, leaving = num_rows;
    while (entering < width - 1 && table[num_rows][entering] <= kTiny) ++entering;
    if (entering == width - 1) break;
    const auto ratio = [&](size_t row) { return table[row][width - 1] / table[row][entering]; };
    for (size_t row = 0; row < num_rows; ++row) {
      if (table[row][entering] <= kTiny) continue;
      if (leaving == num_rows || ratio(row) < ratio(leaving) - kTiny ||
          (ratio(row) < ratio(leaving) + kTiny && basis[row] < basis[leaving]))
        leaving = row;
    }
    const double pivot = table[leaving][entering];
    for (double& value : table[leaving]) value /= pivot;
    for (size_t row = 0; row <= num_rows; ++row) {
      const double factor = table[row][entering];
      if (row == leaving || factor == 0) continue;
      for (size_t column = 0; column < width; ++column) table[row][column] -= factor * table[leaving][column];
    }
    basis[leaving] = entering;
  }
  std::vector<double> result(num_columns, 0);
  for (size_t row = 0; row < num_rows; ++row)
    if (basis[row] < num_columns) result[basis[row]] = table[row][width - 1];
  return result;
}

}  // namespace

std::vector<Lane> weigh_lanes(const Torus& torus, int max_ports) {
  std::vector<Lane> lanes = candidates(torus);
  if (lanes[0].order.empty()) return {Lane{{}, {}, 1}};
  std::vector<std::vector<double>> columns;
  for (const Lane& lane : lanes) columns.push_back(loads_of(torus, lane, max_ports));
  const std::vector<double> shares = maximize(columns);
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  std::vector<Lane> result;
  for (size_t i = 0; i < lanes.size(); ++i) {
    lanes[i].weight = shares[i] / total;
    if (lanes[i].weight > 1e-9) result.push_back(lanes[i]);
  }
  return result;
}

double load_of(const Torus& torus, const std::vector<Lane>& lanes, int max_ports) {
  std::vector<double> sums(static_cast<size_t>(2 * torus.num_dimensions()) + 1, 0);
  for (const Lane& lane : lanes) {
    const std::vector<double> loads = loads_of(torus, lane, max_ports);
    for (size_t i = 0; i < loads.size(); ++i) sums[i] += lane.weight * loads[i];
  }
  return *std::max_element(sums.begin(), sums.end());
}

double least_load_of(const Torus& torus, int max_ports) {
  const int size = torus.size(), ports = std::min(torus.num_ports(), max_ports);
  return ports == 0 ? 0 : 2.0 * (size - 1) / size / ports;
}

}  // namespace mfugaku::comm::schedule
