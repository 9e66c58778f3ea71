// A barrier that names who is missing: rank 0 hears from everybody and then answers everybody.
#include <algorithm>
#include <sstream>

#include "../group.h"
#include "collectives.h"

namespace mfugaku::comm {
namespace {

// torch's own words for these three outcomes, which scripts look for.
std::string missing(const std::vector<int>& ranks, double timeout_s) {
  std::ostringstream text;
  text << (ranks.size() == 1 ? "Rank " : "Ranks ");
  for (size_t i = 0; i < ranks.size(); ++i) text << (i > 0 ? ", " : "") << ranks[i];
  text << " failed to pass monitoredBarrier in " << timeout_s * 1e3 << " ms";
  return text.str();
}

std::string exhausted(int rank, double timeout_s) {
  return "Rank " + std::to_string(rank) + " timed out in monitoredBarrier after " +
         std::to_string(static_cast<int64_t>(timeout_s * 1e3)) + " ms";
}

OperationPtr start_message(Group& group, int peer, bool is_send, double timeout_s) {
  Call call;
  call.timeout_s = timeout_s;
  OperationPtr operation = group.new_point_to_point("monitored_barrier", 0, peer, call);
  operation->stages.push_back([&group, peer, is_send](Operation& op) {
    MPI_Request request;
    if (is_send)
      check_mpi(MPI_Isend(nullptr, 0, MPI_BYTE, peer, group.monitor_tag(), group.comm(), &request), "MPI_Isend");
    else
      check_mpi(MPI_Irecv(nullptr, 0, MPI_BYTE, peer, group.monitor_tag(), group.comm(), &request), "MPI_Irecv");
    op.add_request(request, is_send ? -1 : 0);
  });
  Engine::instance().submit(operation);
  return operation;
}

// Takes back receives that nobody has answered: no later message is to go to them, and nothing is to wait for them.
void withdraw(const std::vector<OperationPtr>& receives) {
  Engine::instance().locked([&] {
    for (const OperationPtr& operation : receives)
      for (MPI_Request& request : operation->requests)
        if (request != MPI_REQUEST_NULL) MPI_Cancel(&request);
  });
  Engine::instance().progress();
}

// Waits until `deadline_s`; whether the operation went well by then.
bool arrives(const OperationPtr& operation, double deadline_s) {
  try {
    Engine::instance().wait({operation}, std::max(deadline_s - now_s(), 1e-3));
  } catch (const CommFailure&) {
    return false;
  }
  return true;
}

void hear_and_answer(Group& group, double timeout_s, bool wait_all_ranks) {
  const double deadline_s = now_s() + timeout_s;
  if (timeout_s <= 0) throw CommFailure(exhausted(0, timeout_s));
  std::vector<OperationPtr> heard;
  for (int rank = 1; rank < group.size(); ++rank)
    heard.push_back(start_message(group, rank, false, timeout_s));
  std::vector<int> absent;
  for (int rank = 1; rank < group.size() && (absent.empty() || wait_all_ranks); ++rank)
    if (!arrives(heard[static_cast<size_t>(rank) - 1], deadline_s)) absent.push_back(rank);
  if (!absent.empty()) {
    withdraw(heard);
    throw CommFailure(missing(absent, timeout_s));
  }
  std::vector<OperationPtr> answers;
  for (int rank = 1; rank < group.size(); ++rank)
    answers.push_back(start_message(group, rank, true, timeout_s));
  Engine::instance().wait(answers);
}

void report_and_wait(Group& group, double timeout_s) {
  const OperationPtr report = start_message(group, 0, true, timeout_s);
  const OperationPtr answer = start_message(group, 0, false, timeout_s);
  try {
    Engine::instance().wait({report, answer});
  } catch (const CommFailure& failure) {
    withdraw({answer});
    throw CommFailure("Rank " + std::to_string(group.rank()) + " successfully reached monitoredBarrier, but received "
                      "errors while waiting for send/recv from rank 0: " + failure.what());
  }
}

}  // namespace

void monitored_barrier(Group& group, double timeout_s, bool wait_all_ranks) {
  if (group.rank() == 0) return hear_and_answer(group, timeout_s, wait_all_ranks);
  report_and_wait(group, timeout_s);
}

}  // namespace mfugaku::comm
