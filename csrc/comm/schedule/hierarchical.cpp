// Nodes of several ranks: what leaves a node leaves it once.
//
// The vector is cut in as many chunks as a node has ranks. The ranks of a node reduce and scatter these among
// themselves, each then has its chunk reduced among all nodes, together with the ranks that have the same chunk there,
// and the chunks are gathered within the node. Every byte of the vector crosses the network no more often than if the
// node were one rank, and all ranks of a node share that work. Each of these is a phase. An all-reduce between nodes
// is taken apart into its two halves, since the first one works on sums under way and the second one on results.
#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "algorithms.h"

namespace mfugaku::comm::schedule {
namespace {

using BuildInner = std::function<Schedule(const Task&)>;

// Where the buffers of an inner schedule lie in those of the whole.
struct Embedding {
  Place input, output, elements, partials;
  Place operator()(const Place& place) const {
    switch (place.buffer) {
      case Buffer::Input: return input + place.begin;
      case Buffer::Output: return output + place.begin;
      case Buffer::Elements: return elements + place.begin;
      case Buffer::Partials: break;
    }
    return partials + place.begin;
  }
};

class Hierarchy {
 public:
  Hierarchy(Task task, int ranks_per_node)
      : task_(std::move(task)),
        num_local_(ranks_per_node),
        num_nodes_(task_.size() / ranks_per_node),
        local_(task_.rank % ranks_per_node),
        node_(task_.rank / ranks_per_node),
        begins_(begins_of(task_.counts)) {}

  Schedule schedule(const BuildInner& build_inner, const std::shared_ptr<Hierarchy>& self) {
    if (task_.collective != Collective::AllGather) {
      lay_out_reduction();
      add_phase(1, 1, 1, [self](int) { return self->reduce_within_node(); });
      add_inner(build_inner, self, Collective::ReduceScatter);
    }
    if (task_.collective != Collective::ReduceScatter) {
      if (task_.collective == Collective::AllGather) gathered_ = take(Buffer::Elements, chunk_count(local_));
      add_inner(build_inner, self, Collective::AllGather);
      lay_out_gathering();
      add_phase(1, 1, 1, [self](int) { return self->gather_within_node(); });
    }
    whole_.build_strand = [builders = std::move(builders_), phases = whole_.phases](int strand) {
      size_t i = 0;
      while (strand >= phases[i].first_strand + phases[i].num_strands) ++i;
      return builders[i](strand - phases[i].first_strand);
    };
    return std::move(whole_);
  }

 private:
  struct Piece {
    int64_t begin, count;
  };
  using Pieces = std::vector<Piece>;

  bool is_all_reduce() const { return task_.collective == Collective::AllReduce; }
  int rank_at(int node, int local) const { return node * num_local_ + local; }

  // The chunk of a local rank in the vector of all blocks, in the order of nodes.
  Pieces chunk(int local) const {
    if (is_all_reduce()) return {{chunk_begin(local), chunk_count(local)}};
    Pieces pieces;
    for (int node = 0; node < num_nodes_; ++node) {
      const auto block = static_cast<size_t>(rank_at(node, local));
      if (task_.counts[block] > 0) pieces.push_back({begins_[block], task_.counts[block]});
    }
    return pieces;
  }
  int64_t chunk_begin(int local) const { return cut(begins_.back(), num_local_, local); }
  int64_t chunk_count(int local) const {
    if (is_all_reduce()) return chunk_begin(local + 1) - chunk_begin(local);
    int64_t count = 0;
    for (int node = 0; node < num_nodes_; ++node) count += task_.counts[static_cast<size_t>(rank_at(node, local))];
    return count;
  }

  Place take(Buffer buffer, int64_t count) {
    int64_t& end = buffer == Buffer::Elements ? whole_.num_scratch_elements : whole_.num_scratch_partials;
    end += count;
    return {buffer, end - count};
  }

  void add_phase(int num_strands, int window, int stride, std::function<Strand(int)> build) {
    const int first = whole_.phases.empty() ? 0 : whole_.num_strands;
    whole_.phases.push_back({first, num_strands, window, stride});
    whole_.num_strands = first + num_strands;
    whole_.window = std::max(whole_.window, window);
    builders_.push_back(std::move(build));
  }

  void add_inner(const BuildInner& build_inner, const std::shared_ptr<Hierarchy>& self, Collective collective) {
    Task task{collective, node_, {}};
    if (is_all_reduce()) {
      task.counts = all_reduce_task(node_, num_nodes_, chunk_count(local_)).counts;
    } else {
      for (int node = 0; node < num_nodes_; ++node)
        task.counts.push_back(task_.counts[static_cast<size_t>(rank_at(node, local_))]);
    }
    const Schedule inner = build_inner(task);
    const bool is_reduction = collective == Collective::ReduceScatter;
    const Place own_output{Buffer::Output, is_all_reduce() ? chunk_begin(local_) + begins_of(task.counts)[
                                                                 static_cast<size_t>(node_)] : 0};
    Embedding embedding{};
    // What a rank gives to the reduction is a sum already.
    embedding.elements = take(is_reduction ? Buffer::Partials : Buffer::Elements, inner.num_scratch_elements);
    embedding.partials = take(Buffer::Partials, inner.num_scratch_partials);
    embedding.input = is_reduction ? node_sum_ : is_all_reduce() ? own_output : Place{Buffer::Input, 0};
    embedding.output = is_reduction ? own_output
                                    : is_all_reduce() ? Place{Buffer::Output, chunk_begin(local_)} : gathered_;
    add_phase(inner.num_strands, inner.window, inner.stride, [self, embedding, build = inner.build_strand](int strand) {
      return self->embed(build(strand), embedding);
    });
  }

  Strand embed(const Strand& inner, const Embedding& at) const {
    Strand strand;
    for (int round = 0; round < inner.num_rounds(); ++round) {
      strand.begin_round(inner.round(round).after);
      for (size_t i = inner.begin_of_messages(round); i < inner.round(round).end_of_messages; ++i) {
        const Message& message = inner.messages()[i];
        const int peer = rank_at(message.peer, local_);
        if (message.is_send)
          strand.send(peer, at(message.place), message.count);
        else
          strand.receive(peer, at(message.place), message.count);
      }
      for (size_t i = inner.begin_of_work(round); i < inner.round(round).end_of_work; ++i) {
        const Work& work = inner.work()[i];
        if (work.is_copy)
          strand.copy(at(work.out), at(work.first), work.count);
        else
          strand.reduce(at(work.out), at(work.first), at(work.second), work.count);
      }
    }
    return strand;
  }

  void lay_out_reduction() {
    node_sum_ = take(Buffer::Partials, chunk_count(local_));
    landing_ = take(Buffer::Elements, (num_local_ - 1) * chunk_count(local_));
    if (!is_all_reduce()) packed_ = take(Buffer::Elements, begins_.back() - chunk_count(local_));
  }
  void lay_out_gathering() {
    if (!is_all_reduce()) landing_ = take(Buffer::Elements, begins_.back() - chunk_count(local_));
  }

  Strand reduce_within_node() const {
    Strand strand;
    strand.begin_round();
    std::vector<Place> outgoing;
    Place room = packed_;
    for (int other = 0; other < num_local_; ++other) {
      const Pieces pieces = chunk(other);
      const bool is_one = pieces.size() == 1;
      outgoing.push_back(is_one ? Place{Buffer::Input, pieces[0].begin} : room);
      if (other == local_ || is_one) continue;
      for (const Piece& piece : pieces) {
        strand.copy(room, {Buffer::Input, piece.begin}, piece.count);
        room = room + piece.count;
      }
    }
    strand.begin_round();
    const int64_t count = chunk_count(local_);
    std::vector<Place> arrived;
    Place landing = landing_;
    for (int other = 0; other < num_local_; ++other) {
      arrived.push_back(landing);
      if (other == local_) continue;
      strand.receive(rank_at(node_, other), landing, count);
      strand.send(rank_at(node_, other), outgoing[static_cast<size_t>(other)], chunk_count(other));
      landing = landing + count;
    }
    int64_t offset = 0;
    for (const Piece& piece : chunk(local_)) {
      const auto contribution = [&](int other) {
        return other == local_ ? Place{Buffer::Input, piece.begin} : arrived[static_cast<size_t>(other)] + offset;
      };
      const Place sum = node_sum_ + offset;
      for (int other = 1; other < num_local_; ++other)
        strand.reduce(sum, other == 1 ? contribution(0) : sum, contribution(other), piece.count);
      offset += piece.count;
    }
    return strand;
  }

  Strand gather_within_node() const {
    Strand strand;
    strand.begin_round();
    Place landing = landing_;
    const Place own = is_all_reduce() ? Place{Buffer::Output, chunk_begin(local_)} : gathered_;
    std::vector<Place> arrived;
    for (int other = 0; other < num_local_; ++other) {
      if (other == local_) {
        arrived.push_back(own);
        continue;
      }
      arrived.push_back(is_all_reduce() ? Place{Buffer::Output, chunk_begin(other)} : landing);
      strand.receive(rank_at(node_, other), arrived.back(), chunk_count(other));
      strand.send(rank_at(node_, other), own, chunk_count(local_));
      landing = landing + chunk_count(other);
    }
    if (is_all_reduce()) return strand;
    for (int other = 0; other < num_local_; ++other)
      for (const Piece& piece : chunk(other)) {
        Place& from = arrived[static_cast<size_t>(other)];
        strand.copy({Buffer::Output, piece.begin}, from, piece.count);
        from = from + piece.count;
      }
    return strand;
  }

  Task task_;
  int num_local_, num_nodes_, local_, node_;
  std::vector<int64_t> begins_;
  Schedule whole_;
  std::vector<std::function<Strand(int)>> builders_;  // by phase
  Place node_sum_{Buffer::Partials, 0}, landing_{Buffer::Elements, 0}, packed_{Buffer::Elements, 0};
  Place gathered_{Buffer::Elements, 0};
};

}  // namespace

Schedule hierarchical(const Task& task, int ranks_per_node, const BuildInner& build_inner) {
  if (ranks_per_node < 2 || task.size() % ranks_per_node != 0 || task.size() == ranks_per_node)
    throw std::invalid_argument("nodes of " + std::to_string(ranks_per_node) + " ranks for a group of " +
                                std::to_string(task.size()) + " ranks");
  auto hierarchy = std::make_shared<Hierarchy>(task, ranks_per_node);
  return hierarchy->schedule(build_inner, hierarchy);
}

}  // namespace mfugaku::comm::schedule
