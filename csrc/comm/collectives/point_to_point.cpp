// send, receive, receive_any.
#include <string>

#include "collectives.h"
#include "messages.h"

namespace mfugaku::comm {
namespace {

// MPI carries empty messages too, and torch's send/recv of an empty tensor is a synchronisation: one empty message.
void post_message(Operation& op, const Group& group, void* data, int64_t num_bytes, int peer, int tag, bool is_send) {
  if (num_bytes > 0) {
    if (is_send) return post_send(op, group, data, num_bytes, peer, tag);
    return post_receive(op, group, data, num_bytes, peer, tag);
  }
  MPI_Request request;
  if (is_send)
    check_mpi(MPI_Isend(data, 0, MPI_BYTE, peer, tag, group.comm(), &request), "MPI_Isend");
  else
    check_mpi(MPI_Irecv(data, 0, MPI_BYTE, peer, tag, group.comm(), &request), "MPI_Irecv");
  op.add_request(request, is_send ? -1 : 0);
}

void check_message(const Group& group, const char* name, int peer, int tag) {
  if (peer < 0 || peer >= group.size())
    throw std::invalid_argument(std::string(name) + ": rank " + std::to_string(peer) + " is not in group '" +
                                group.name() + "' of " + std::to_string(group.size()) + " ranks");
  if (tag < 0 || tag > group.max_user_tag())
    throw std::invalid_argument(std::string(name) + ": tag " + std::to_string(tag) + " is outside 0 ... " +
                                std::to_string(group.max_user_tag()) + ", which this MPI offers");
}

}  // namespace

OperationPtr send(Group& group, const void* data, int64_t num_bytes, int to, int tag, const Call& call) {
  check_message(group, "send", to, tag);
  OperationPtr operation = group.new_point_to_point("send", num_bytes, to, call);
  operation->stages.push_back([=, &group](Operation& op) {
    post_message(op, group, const_cast<void*>(data), num_bytes, to, tag, true);
  });
  Engine::instance().submit(operation);
  return operation;
}

OperationPtr receive(Group& group, void* data, int64_t num_bytes, int from, int tag, const Call& call) {
  check_message(group, "recv", from, tag);
  OperationPtr operation = group.new_point_to_point("recv", num_bytes, from, call);
  operation->source = from;
  operation->stages.push_back(
      [=, &group](Operation& op) { post_message(op, group, data, num_bytes, from, tag, false); });
  Engine::instance().submit(operation);
  return operation;
}

OperationPtr receive_any(Group& group, void* data, int64_t num_bytes, int tag, const Call& call) {
  check_message(group, "recv", 0, tag);
  OperationPtr operation = group.new_point_to_point("recv", num_bytes, -1, call);
  operation->is_receive_any = true;
  // The first part may come from anybody, the others then from the same rank.
  const int64_t first_bytes = std::min(num_bytes, Engine::instance().max_count());
  operation->stages.push_back([=, &group](Operation& op) {
    MPI_Request request;
    check_mpi(MPI_Irecv(data, static_cast<int>(first_bytes), MPI_BYTE, MPI_ANY_SOURCE, tag, group.comm(), &request),
              "MPI_Irecv");
    op.add_request(request, first_bytes);
  });
  if (num_bytes > first_bytes)
    operation->stages.push_back([=, &group](Operation& op) {
      post_receive(op, group, static_cast<char*>(data) + first_bytes, num_bytes - first_bytes, op.source, tag);
    });
  Engine::instance().submit(operation);
  return operation;
}

}  // namespace mfugaku::comm
