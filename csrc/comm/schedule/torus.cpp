#include "torus.h"

#include <algorithm>
#include <stdexcept>

namespace mfugaku::comm::schedule {

Torus Torus::parse(const std::string& text) {
  const auto fail = [&text]() -> Torus {
    throw std::invalid_argument("'" + text + "' is no torus. Lengths of its dimensions are expected, with an l where "
                                "the ends are not linked. Write it like 24x12l.");
  };
  std::vector<Dimension> dimensions;
  size_t at = 0;
  while (true) {
    const size_t begin = at;
    int length = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9' && length < 1'000'000)
      length = 10 * length + (text[at++] - '0');
    if (at == begin || length < 1) return fail();
    const bool is_line = at < text.size() && text[at] == 'l';
    if (is_line) ++at;
    dimensions.push_back({length, !is_line});
    if (at == text.size()) break;
    if (text[at++] != 'x') return fail();
  }
  if (dimensions.size() > 6) return fail();
  return Torus(std::move(dimensions));
}

Torus Torus::with_places(std::vector<int> places) const {
  Torus placed(dimensions_);
  placed.ranks_.assign(static_cast<size_t>(size()), -1);
  if (places.size() != placed.ranks_.size())
    throw std::invalid_argument(std::to_string(places.size()) + " ranks for " + std::to_string(size()) + " places");
  for (size_t rank = 0; rank < places.size(); ++rank) {
    const int place = places[rank];
    if (place < 0 || place >= size() || placed.ranks_[static_cast<size_t>(place)] >= 0)
      throw std::invalid_argument("place " + std::to_string(place) + " of rank " + std::to_string(rank) +
                                  " does not exist on the torus, or is another rank's too");
    placed.ranks_[static_cast<size_t>(place)] = static_cast<int>(rank);
  }
  placed.places_ = std::move(places);
  return placed;
}

int Torus::stride(int d) const {
  int stride = 1;
  for (int i = 0; i < d; ++i) stride *= length(i);
  return stride;
}

int Torus::size() const { return stride(num_dimensions()); }

int Torus::coordinate(int rank, int d) const { return place_of(rank) / stride(d) % length(d); }

int Torus::moved(int rank, int d, int c) const {
  const int to = (c % length(d) + length(d)) % length(d);
  const int place = place_of(rank) + (to - coordinate(rank, d)) * stride(d);
  return ranks_.empty() ? place : ranks_[static_cast<size_t>(place)];
}

int Torus::num_ports() const {
  int ports = 0;
  for (const Dimension& dimension : dimensions_)
    if (dimension.length > 1) ports += dimension.num_directions();
  return ports;
}

}  // namespace mfugaku::comm::schedule
