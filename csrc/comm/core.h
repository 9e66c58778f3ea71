// What the side that faces torch sees of the core. There is no MPI in it, so that side is compiled once for all MPIs:
// groups and operations, whose members depend on the MPI, stay behind functions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "record.h"
#include "schedule/choice.h"
#include "types.h"

namespace mfugaku::comm {

class Group;
struct Operation;
using OperationPtr = std::shared_ptr<Operation>;

// How one call is to be run: its timeout (0: the group's) and the owners of the memory it touches.
struct Call {
  double timeout_s = 0;
  Keep keep;
};

struct EngineOptions {
  bool progress_thread = false;
  int progress_core = -1;  // where that thread runs, alone if it is to help; -1: wherever the process may
  bool tracing = false;
  double timeout_s = 1800;  // of operations outside any group, and of the last barrier before MPI_Finalize
  bool shared_memory = true;  // between ranks of one node
  bool utofu = false;         // between others, for schedules
  int ranks_per_node = 0;  // takes so many ranks in a row for a node; 0: nodes are what they are
};

// Operations.
bool is_done(const Operation& operation);
std::string failure_of(const Operation& operation);  // of one that is done; empty when it went well
int source_of(const Operation& operation);           // of a message received from any rank
uint64_t sequence_of(const Operation& operation);
void wait_for(const std::vector<OperationPtr>& operations, double timeout_s);  // as Engine::wait
void when_done(const OperationPtr& operation, std::function<void()> callback);  // as Engine::when_done
void drive_all();                                                               // as Engine::progress

// Groups.
std::shared_ptr<Group> create_group(std::string name, std::vector<int> mpi_ranks, int rank, double timeout_s);
void shut_down(Group& group);
void set_timeout_s(Group& group, double timeout_s);
uint64_t num_collectives_of(const Group& group);
bool shares_memory(const Group& group);
int ranks_per_node_of(const Group& group);
DataType wire_of(const Group& group);
void set_wire(Group& group, DataType type);            // as Group::set_wire
void set_lanes(Group& group, schedule::Choice lanes);  // as Group::set_lanes
// Whether a collective of a vector of `num_bytes`, of equal blocks and at its own width, is left to MPI's own.
bool goes_by_mpi(const Group& group, schedule::Collective collective, int64_t num_bytes, DataType type);

// The process.
std::pair<int, int> initialize(const EngineOptions& options);  // returns its rank and their number
std::pair<int, int> world();
bool is_ready();
std::vector<uint64_t> nodes();  // a number of every rank's node, alike for ranks of one node
int thread_level();
double default_timeout_s();
bool has_utofu();  // whether it was built for it
void stop_thread();
void abort_job(const std::string& message, int code);
void record_flight(const std::string& path);
void describe_group(const std::string& name, const std::string& description);
Recorder& recorder();
void set_max_count(int64_t max_count);

}  // namespace mfugaku::comm

// Engine::poke of this process, for code that knows it by name or address only.
extern "C" __attribute__((visibility("default"))) void mfugaku_comm_poke();
