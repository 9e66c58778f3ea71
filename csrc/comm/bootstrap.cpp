#include "bootstrap.h"

#include "engine.h"

namespace mfugaku::comm {
namespace {

void run(const char* name, int64_t num_bytes, Operation::Stage stage) {
  Engine& engine = Engine::instance();
  engine.check_ready();
  auto operation = std::make_shared<Operation>();
  operation->name = name;
  operation->group = std::make_shared<const std::string>("all processes");
  operation->rank = engine.rank();
  operation->group_size = engine.size();
  operation->num_bytes = num_bytes;
  operation->timeout_s = engine.timeout_s();
  operation->stages.push_back(std::move(stage));
  engine.submit(operation);
  engine.wait({operation});
}

}  // namespace

std::vector<int> all_gather_int(int value) {
  // Owned by the heap: when the wait times out, MPI still knows this memory.
  auto values = std::make_shared<std::vector<int>>(static_cast<size_t>(Engine::instance().size()) + 1);
  values->back() = value;
  run("all_gather", static_cast<int64_t>(values->size() * sizeof(int)), [values](Operation& operation) {
    operation.hold(values);
    MPI_Request request;
    check_mpi(MPI_Iallgather(&values->back(), 1, MPI_INT, values->data(), 1, MPI_INT, Engine::instance().base(),
                             &request),
              "MPI_Iallgather");
    operation.add_request(request);
  });
  return {values->begin(), values->end() - 1};
}

std::string broadcast_text(const std::string& text, int root) {
  // Fixed length, so that one message does: addresses are short.
  constexpr size_t kCapacity = 1024;
  auto buffer = std::make_shared<std::vector<char>>(kCapacity, '\0');
  if (text.size() >= kCapacity) throw std::invalid_argument("broadcast_text: the text is too long");
  if (Engine::instance().rank() == root) text.copy(buffer->data(), text.size());
  run("broadcast", kCapacity, [buffer, root](Operation& operation) {
    operation.hold(buffer);
    MPI_Request request;
    check_mpi(MPI_Ibcast(buffer->data(), static_cast<int>(buffer->size()), MPI_BYTE, root, Engine::instance().base(),
                         &request),
              "MPI_Ibcast");
    operation.add_request(request);
  });
  return buffer->data();
}

}  // namespace mfugaku::comm
