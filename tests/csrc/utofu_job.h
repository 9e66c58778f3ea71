// Ranks on the nodes of a mocked Tofu network, each with executors of its own, driven in an order that follows from a
// seed.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/executor.h"
#include "comm/transport/utofu.h"
#include "utofu_mock.h"

namespace mfugaku::tests {

class TofuJob {
 public:
  TofuJob(int size, const TofuFaults& faults, const comm::utofu::DeviceOptions& options, uint64_t seed)
      : mock(TofuMock::reset(size, faults, seed)), random_(seed + 1), executors_(static_cast<size_t>(size)) {
    for (int rank = 0; rank < size; ++rank) {
      mock.enter(rank);
      devices_.push_back(std::make_shared<comm::utofu::Device>(options));
    }
    errors.resize(executors_.size());
    mesh_ = make_meshes();
  }

  ~TofuJob() {
    for (size_t rank = 0; rank < executors_.size(); ++rank) {
      mock.enter(static_cast<int>(rank));
      executors_[rank].clear();
      mesh_[rank].reset();
      devices_[rank].reset();
    }
  }

  // An operation: what `data` says of a rank, by its schedule.
  void add(const std::function<comm::schedule::Schedule(int rank)>& build,
           const std::function<comm::Data(int rank)>& data) {
    for (size_t rank = 0; rank < executors_.size(); ++rank) {
      mock.enter(static_cast<int>(rank));
      comm::schedule::Schedule schedule = build(static_cast<int>(rank));
      const uint32_t first = mesh_[rank]->take_channels(schedule.num_strands);
      executors_[rank].push_back(std::make_unique<comm::Executor>(
          std::move(schedule), std::make_unique<comm::UtofuTransport>(mesh_[rank], first),
          data(static_cast<int>(rank))));
    }
  }

  // Until all are over, or nothing has happened for long; what went wrong, or nothing.
  std::string run() {
    int64_t idle = 0;
    for (; idle < 20'000 && !is_over(); ++idle) {
      if (random_.bits() % laziness != 0) {
        if (mock.step()) idle = std::min<int64_t>(idle, 10'000);
      } else if (advance(random_.bits() % executors_.size())) {
        idle = 0;
      }
      if (!mock.fault().empty()) return mock.fault();
    }
    if (is_over()) return "";
    return "ranks wait for ever";
  }

  bool is_over(size_t rank) const { return executors_[rank].empty(); }
  bool is_over() const {
    for (size_t rank = 0; rank < executors_.size(); ++rank)
      if (!is_over(rank)) return false;
    return true;
  }
  // The dead one does nothing any more.
  void kill(size_t rank) {
    mock.enter(static_cast<int>(rank));
    mock.kill(static_cast<int>(rank));
    is_dead_ = static_cast<int>(rank);
  }

  TofuMock& mock;
  std::vector<std::string> errors;  // of ranks
  uint64_t laziness = 3;            // ranks have one turn in so many, the network the others

 private:
  std::vector<std::shared_ptr<comm::utofu::Mesh>> make_meshes() {
    std::vector<std::shared_ptr<comm::utofu::Mesh>> meshes;
    std::vector<char> addresses;
    for (size_t rank = 0; rank < devices_.size(); ++rank) {
      mock.enter(static_cast<int>(rank));
      meshes.push_back(std::make_shared<comm::utofu::Mesh>(devices_[rank], static_cast<int>(rank),
                                                           static_cast<int>(devices_.size())));
      const std::vector<char> address = meshes.back()->address();
      addresses.insert(addresses.end(), address.begin(), address.end());
    }
    for (const auto& mesh : meshes) mesh->connect(addresses);
    return meshes;
  }

  // One of the rank's operations, as far as it goes.
  bool advance(size_t rank) {
    auto& open = executors_[rank];
    if (open.empty() || static_cast<int>(rank) == is_dead_) return false;
    mock.enter(static_cast<int>(rank));
    const size_t i = random_.bits() % open.size();
    bool has_moved = false, is_over = false;
    try {
      is_over = open[i]->advance(has_moved);
    } catch (const comm::CommFailure& failure) {
      errors[rank] = failure.what();
      is_over = !open[i]->is_holding_memory();
    }
    if (is_over) open.erase(open.begin() + static_cast<std::ptrdiff_t>(i));
    return has_moved || is_over;
  }

  Random random_;
  std::vector<std::shared_ptr<comm::utofu::Device>> devices_;
  std::vector<std::shared_ptr<comm::utofu::Mesh>> mesh_;
  std::vector<std::vector<std::unique_ptr<comm::Executor>>> executors_;  // open ones, by rank
  int is_dead_ = -1;
};

}  // namespace mfugaku::tests
