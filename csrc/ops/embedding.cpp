#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/reduce/reduce.h"
#include "kernels/registry.h"
#include "ops/tiles.h"

namespace mfugaku::ops {
namespace {

constexpr int64_t kColumns = 512;  // of a row that one thread adds up at once

size_t bytes_of(const Tensor& x, int64_t count) {
  return static_cast<size_t>(count) * (x.scalar_type() == ScalarType::Float ? sizeof(float) : sizeof(uint16_t));
}

void check_tokens(const Tensor& tokens) {
  STD_TORCH_CHECK(tokens.scalar_type() == ScalarType::Long && tokens.is_cpu(), "tokens must be int64, on the CPU.");
}

// The places of the tokens of each row of a table, in their order: those of row r stand from first[r] to first[r + 1].
struct Places {
  std::vector<int64_t> first, places;
  Places(const int64_t* tokens, int64_t count, int64_t first_row, int64_t num_rows)
      : first(static_cast<size_t>(num_rows + 1)) {
    const auto row_of = [=](int64_t i) { return static_cast<uint64_t>(tokens[i] - first_row); };
    const auto limit = static_cast<uint64_t>(num_rows);
    for (int64_t i = 0; i < count; ++i)
      if (row_of(i) < limit) ++first[row_of(i) + 1];
    for (size_t row = 0; row < limit; ++row) first[row + 1] += first[row];
    places.resize(static_cast<size_t>(first.back()));
    std::vector<int64_t> next(first.begin(), first.end() - 1);
    for (int64_t i = 0; i < count; ++i)
      if (row_of(i) < limit) places[static_cast<size_t>(next[row_of(i)]++)] = i;
  }
};

}  // namespace

Tensor embedding(const Tensor& weight, const Tensor& tokens, int64_t first_row, int64_t vocabulary) {
  check_type(weight, "weight");
  STD_TORCH_CHECK(weight.dim() == 2, "weight must be [rows, width].");
  check_tokens(tokens);
  const Tensor table = dense(weight), wanted = dense(tokens);
  const auto* const ids = static_cast<const int64_t*>(wanted.const_data_ptr());
  const int64_t count = tokens.numel(), width = weight.size(1), num_rows = weight.size(0);
  bool is_known = true;
  for (int64_t i = 0; i < count; ++i) is_known = is_known && ids[i] >= 0 && ids[i] < vocabulary;
  STD_TORCH_CHECK(is_known, "a token is not in the vocabulary of ", vocabulary, ".");
  std::vector<int64_t> shape;
  for (int64_t d = 0; d < tokens.dim(); ++d) shape.push_back(tokens.size(d));
  shape.push_back(width);
  Tensor out = torch::stable::new_empty(table, shape);
  const auto* const from = static_cast<const char*>(table.const_data_ptr());
  auto* const to = static_cast<char*>(out.mutable_data_ptr());
  const size_t size = bytes_of(weight, width);
  run_in_rows(count, width, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end && size > 0; ++i) {
      const int64_t row = ids[i] - first_row;
      char* const place = to + static_cast<size_t>(i) * size;
      if (row >= 0 && row < num_rows)
        std::memcpy(place, from + static_cast<size_t>(row) * size, size);
      else
        std::memset(place, 0, size);
    }
  });
  return out;
}

Tensor embedding_backward(const Tensor& gradient, const Tensor& tokens, int64_t first_row, int64_t num_rows) {
  check_type(gradient, "gradient");
  check_tokens(tokens);
  const int64_t width = row_length(gradient), count = tokens.numel();
  STD_TORCH_CHECK(num_rows >= 0 && gradient.numel() == count * width, "gradient must have a row for each token.");
  const Tensor upstream = dense(gradient), wanted = dense(tokens);
  Tensor out = torch::stable::new_empty(upstream, std::vector<int64_t>{num_rows, width});
  const auto* const from = static_cast<const char*>(upstream.const_data_ptr());
  auto* const to = static_cast<char*>(out.mutable_data_ptr());
  const Places places(static_cast<const int64_t*>(wanted.const_data_ptr()), count, first_row, num_rows);
  std::vector<int64_t> used;
  for (int64_t row = 0; row < num_rows; ++row)
    if (places.first[static_cast<size_t>(row)] < places.first[static_cast<size_t>(row) + 1]) used.push_back(row);
  run_in_rows(num_rows, width, [&](int64_t begin, int64_t end) {
    for (auto next = std::lower_bound(used.begin(), used.end(), begin); begin < end; ++next) {
      const int64_t stop = next == used.end() ? end : std::min(*next, end);  // up to there no row has a token
      const size_t size = bytes_of(gradient, (stop - begin) * width);
      if (size > 0) std::memset(to + bytes_of(gradient, begin * width), 0, size);
      if (next == used.end()) break;
      begin = stop + 1;
    }
  });
  const auto& kernels = kernels::chosen<kernels::ReduceKernels>();
  const auto sum = by_type(gradient, kernels.sum_float32, kernels.sum_bfloat16, kernels.sum_float16);
  // A few rows have most of the tokens: threads share columns first and rows within them, so that all get some of those.
  const auto num_used = static_cast<int64_t>(used.size()), num_blocks = (width + kColumns - 1) / kColumns;
  run_in_tiles_of(num_used * num_blocks, kGrain / kColumns, [&](int64_t begin, int64_t end) {
    std::vector<const void*> pieces;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = used[static_cast<size_t>(task % num_used)], column = task / num_used * kColumns;
      pieces.clear();
      for (int64_t k = places.first[static_cast<size_t>(row)]; k < places.first[static_cast<size_t>(row) + 1]; ++k)
        pieces.push_back(from + bytes_of(gradient, places.places[static_cast<size_t>(k)] * width + column));
      sum(pieces.data(), static_cast<int64_t>(pieces.size()), std::min(kColumns, width - column), 1,
          to + bytes_of(gradient, row * width + column));
    }
  });
  return out;
}

}  // namespace mfugaku::ops
