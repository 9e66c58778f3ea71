#include "core.h"

#include "engine.h"
#include "group.h"

namespace mfugaku::comm {

bool is_done(const Operation& operation) { return operation.done.load(std::memory_order_acquire); }

std::string failure_of(const Operation& operation) {
  return operation.error.empty() ? std::string() : operation.describe_failure();
}

int source_of(const Operation& operation) { return operation.source; }

uint64_t sequence_of(const Operation& operation) { return operation.sequence; }

void wait_for(const std::vector<OperationPtr>& operations, double timeout_s) {
  Engine::instance().wait(operations, timeout_s);
}

void when_done(const OperationPtr& operation, std::function<void()> callback) {
  Engine::instance().when_done(operation, std::move(callback));
}

void drive_all() { Engine::instance().progress(); }

std::shared_ptr<Group> create_group(std::string name, std::vector<int> mpi_ranks, int rank, double timeout_s) {
  return Group::create(std::move(name), std::move(mpi_ranks), rank, timeout_s);
}

void shut_down(Group& group) { group.shut_down(); }

void set_timeout_s(Group& group, double timeout_s) { group.set_timeout_s(timeout_s); }

uint64_t num_collectives_of(const Group& group) { return group.num_collectives(); }

bool shares_memory(const Group& group) { return group.channel() != nullptr; }

int ranks_per_node_of(const Group& group) { return group.ranks_per_node(); }

DataType wire_of(const Group& group) { return group.wire(); }

void set_wire(Group& group, DataType type) { group.set_wire(type); }

void set_lanes(Group& group, schedule::Choice lanes) { group.set_lanes(std::move(lanes)); }

std::pair<int, int> initialize(const EngineOptions& options) {
  Engine::instance().initialize(options);
  return world();
}

std::pair<int, int> world() { return {Engine::instance().rank(), Engine::instance().size()}; }

std::vector<uint64_t> nodes() { return Engine::instance().nodes(); }

bool is_ready() { return Engine::instance().is_ready(); }

int thread_level() { return Engine::instance().thread_level(); }

double default_timeout_s() { return Engine::instance().timeout_s(); }

void stop_thread() { Engine::instance().stop_thread(); }

void abort_job(const std::string& message, int code) { Engine::instance().abort(message, code); }

void record_flight(const std::string& path) { Engine::instance().record_flight(path); }

void describe_group(const std::string& name, const std::string& description) {
  Engine& engine = Engine::instance();
  engine.locked([&] { engine.flight().describe_group(name, description); });
}

Recorder& recorder() { return Engine::instance().recorder(); }

void set_max_count(int64_t max_count) { Engine::instance().set_max_count(max_count); }

}  // namespace mfugaku::comm
