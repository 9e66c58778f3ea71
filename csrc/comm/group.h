// A communicator of some ranks, with the numbering of its operations.
#pragma once

#include <mpi.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "agreement.h"
#include "core.h"
#include "engine.h"
#include "schedule/choice.h"
#include "shared/channel.h"
#include "transport/utofu_over_mpi.h"

namespace mfugaku::comm {

class Group : public std::enable_shared_from_this<Group> {
 public:
  // Collective over the members alone. `mpi_ranks[i]` is the MPI_COMM_WORLD rank of the group's rank i; all members
  // pass the same name and ranks. Throws CommFailure when they do not, or when a member does not come in time.
  static std::shared_ptr<Group> create(std::string name, std::vector<int> mpi_ranks, int rank, double timeout_s);
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  const std::string& name() const { return *name_; }
  int rank() const { return rank_; }
  int size() const { return static_cast<int>(mpi_ranks_.size()); }
  MPI_Comm comm() const { return comm_; }
  // The memory that the members share, or null where their collectives go through MPI.
  const std::shared_ptr<Channel>& channel() const { return channel_; }
  // What carries the messages of a schedule of so many strands, over uTofu or MPI. To be asked for in the same order on
  // all members.
  std::unique_ptr<Transport> new_transport(int num_strands);
  // How many members in a row stand on a node, if that is the same on all nodes, and 1 if not.
  int ranks_per_node() const { return ranks_per_node_; }
  // What sums of long float32 vectors travel as between nodes: Float32, BFloat16 or Float16. Alike on all members, and
  // set before they use the group.
  void set_wire(DataType type) { wire_ = type; }
  DataType wire() const { return wire_; }
  // The lanes of the torus on which the members are known to stand, or null. Set alike on all members, before there
  // are collectives.
  const schedule::Choice* lanes() const { return lanes_.get(); }
  void set_lanes(schedule::Choice lanes) { lanes_ = std::make_unique<const schedule::Choice>(std::move(lanes)); }
  void set_timeout_s(double timeout_s) { timeout_s_ = timeout_s; }
  double timeout_s() const { return timeout_s_; }
  uint64_t num_collectives() const { return num_collectives_.load(); }
  // Tags of point-to-point calls are 0 ... max_user_tag(); the next is the monitored barrier's, those above belong to
  // our collectives.
  int max_user_tag() const { return Engine::instance().max_tag() / 2; }
  int monitor_tag() const { return max_user_tag() + 1; }

  // A new operation of this group, not yet submitted. Collectives are numbered alike on all members.
  OperationPtr new_collective(const char* operation, int64_t num_bytes, const Call& call);
  OperationPtr new_point_to_point(const char* operation, int64_t num_bytes, int peer, const Call& call);
  // Lets the members find out, beside the work, whether they mean the same collective; needless where it goes through
  // shared memory. The others as make_ticket has them.
  void agree(Operation& collective, const char* name, int64_t num_bytes, int64_t argument,
             const std::vector<int64_t>& sizes);
  // The tag for the messages of a collective, distinct for those in flight together.
  int tag_of(const Operation& collective) const;
  // Frees the communicator; to be called in the same order on all members. Later calls on the group throw.
  void shut_down();

 private:
  Group(std::string name, std::vector<int> mpi_ranks, int rank, double timeout_s);
  void connect();
  // The first of `num_tags` tags in a row for the strands of a schedule; schedules come in the same order on all
  // members. These tags are apart from those of tag_of. Throws std::invalid_argument when there are not so many.
  int take_tags(int num_tags);
  OperationPtr new_operation(const char* operation, int64_t num_bytes, const Call& call);
  Totals& totals_of(const char* operation);

  std::shared_ptr<const std::string> name_;
  std::vector<int> mpi_ranks_;
  int rank_;
  double timeout_s_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  std::shared_ptr<Channel> channel_;
  std::shared_ptr<utofu::Mesh> mesh_;  // null where schedules go over MPI
  int ranks_per_node_ = 1;
  DataType wire_ = DataType::Float32;
  std::unique_ptr<const schedule::Choice> lanes_;
  std::shared_ptr<FailureNotes> notes_;
  uint32_t flight_number_ = 0;
  std::atomic<uint64_t> num_collectives_{0}, num_point_to_point_{0};
  int num_tags_taken_ = 0;
  std::atomic<bool> is_shut_down_{false};
  std::mutex totals_mutex_;
  std::vector<std::pair<const char*, Totals*>> totals_;  // of the operations called so far
};

}  // namespace mfugaku::comm
