// Halving the number of blocks that a rank is still responsible for, and doubling the number that it knows.
//
// Blocks are counted from the own one: block i of rank r belongs to rank (r + i) modulo p. While a rank still answers
// for its first `m` blocks, it keeps the first s = ceil(m/2) and sends the others to rank r + s, where they are the
// blocks from 0 on; so after ceil(log2 p) rounds it answers for its own alone, with everybody's contribution in it.
// All ranks do the same at each step: whether block i is still a bare contribution or a sum is known of all of them.
#include <utility>

#include "algorithms.h"

namespace mfugaku::comm::schedule {
namespace {

class Halving {
 public:
  explicit Halving(const Task& task) : task_(task), begins_(begins_of(task.counts)), size_(task.size()) {}

  Strand build() {
    if (size_ == 1) {
      strand_.begin_round();
      strand_.copy({Buffer::Output, 0}, {Buffer::Input, 0}, begins_.back());
      return std::move(strand_);
    }
    if (task_.collective == Collective::AllGather) {
      strand_.begin_round();
      strand_.copy(output(task_.rank), {Buffer::Input, 0}, task_.counts[static_cast<size_t>(task_.rank)]);
    } else {
      reduce_and_scatter();
    }
    if (task_.collective != Collective::ReduceScatter) gather();
    return std::move(strand_);
  }

 private:
  // A run of blocks that lie one after the other: the first of them and how many elements they have.
  struct Run {
    int first_block;
    int64_t count;
    bool is_sum, is_other_sum;
  };

  // Runs of the blocks first ... first + num - 1 of rank `of`. `is_sum[i + shift]` and, for the rank that they go to,
  // `is_sum[i]` are alike within a run.
  std::vector<Run> runs(int of, int first, int num, int shift, const std::vector<bool>& is_sum) const {
    std::vector<Run> result;
    for (int i = 0; i < num; ++i) {
      const int block = (of + first + i) % size_;
      const bool here = is_sum[static_cast<size_t>(i + shift)], there = is_sum[static_cast<size_t>(i)];
      const int64_t count = task_.counts[static_cast<size_t>(block)];
      const bool goes_on = !result.empty() && block != 0 && result.back().is_sum == here &&
                           result.back().is_other_sum == there;
      if (goes_on)
        result.back().count += count;
      else
        result.push_back({block, count, here, there});
    }
    return result;
  }

  int64_t begin(int block) const { return begins_[static_cast<size_t>(block)]; }
  Place output(int block) const {
    return {Buffer::Output, task_.collective == Collective::ReduceScatter ? 0 : begin(block)};
  }
  Place own(int block, bool is_sum) const { return {is_sum ? Buffer::Partials : Buffer::Input, begin(block)}; }
  Place landing(int block, bool is_sum) const {
    return is_sum ? Place{Buffer::Partials, begins_.back() + begin(block)} : Place{Buffer::Elements, begin(block)};
  }

  void reduce_and_scatter() {
    std::vector<bool> is_sum(static_cast<size_t>(size_), false);
    for (int num = size_; num > 1;) {
      const int kept = (num + 1) / 2, sent = num - kept;
      const int to = (task_.rank + kept) % size_, from = (task_.rank - kept + size_) % size_;
      strand_.begin_round();
      const std::vector<Run> incoming = runs(task_.rank, 0, sent, kept, is_sum);
      for (const Run& run : incoming) strand_.receive(from, landing(run.first_block, run.is_sum), run.count);
      for (const Run& run : runs(to, 0, sent, kept, is_sum))
        strand_.send(to, own(run.first_block, run.is_sum), run.count);
      for (const Run& run : incoming) {
        const Place out = kept == 1 ? output(run.first_block) : own(run.first_block, true);
        strand_.reduce(out, own(run.first_block, run.is_other_sum), landing(run.first_block, run.is_sum), run.count);
      }
      for (int i = 0; i < sent; ++i) is_sum[static_cast<size_t>(i)] = true;
      num = kept;
    }
  }

  void gather() {
    std::vector<std::pair<int, int>> steps;  // distance, blocks that are passed on
    for (int num = size_; num > 1; num = (num + 1) / 2) steps.push_back({(num + 1) / 2, num - (num + 1) / 2});
    const std::vector<bool> alike(static_cast<size_t>(size_) + 1, false);
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
      const auto [distance, num] = *step;
      const int to = (task_.rank - distance + size_) % size_, from = (task_.rank + distance) % size_;
      strand_.begin_round();
      for (const Run& run : runs(from, 0, num, 0, alike)) strand_.receive(from, output(run.first_block), run.count);
      for (const Run& run : runs(task_.rank, 0, num, 0, alike))
        strand_.send(to, output(run.first_block), run.count);
    }
  }

  const Task& task_;
  std::vector<int64_t> begins_;
  int size_;
  Strand strand_;
};

}  // namespace

Schedule recursive_halving(const Task& task) {
  const int64_t count = begins_of(task.counts).back();
  Schedule schedule;
  if (task.collective != Collective::AllGather && task.size() > 1) {
    schedule.num_scratch_elements = count;
    schedule.num_scratch_partials = 2 * count;
  }
  schedule.build_strand = [task](int) { return Halving(task).build(); };
  return schedule;
}

}  // namespace mfugaku::comm::schedule
