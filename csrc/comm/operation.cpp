#include "operation.h"

#include <algorithm>
#include <sstream>

namespace mfugaku::comm {

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  const std::string reason(text, static_cast<size_t>(length));
  throw CommFailure(std::string(call) + " failed: " +
                    (reason.empty() ? "MPI has no words for its error " + std::to_string(code) : reason));
}

bool Operation::has_open_work() const {
  const auto is_open = [](MPI_Request request) { return request != MPI_REQUEST_NULL; };
  return poll || beside || std::any_of(requests.begin(), requests.end(), is_open);
}

std::string Operation::describe() const {
  std::ostringstream text;
  text << name << " number " << sequence << " of group '" << (group ? *group : "?") << "' (rank " << rank << " of "
       << group_size << ", with ";
  if (is_receive_any)
    text << "any rank";
  else if (peer >= 0)
    text << "rank " << peer;
  else
    text << "all " << group_size << " ranks";
  text << ", " << num_bytes << " bytes)";
  return text.str();
}

std::string Operation::describe_failure() const { return describe() + " " + error; }

std::string Operation::describe_timeout(double limit_s) {
  std::ostringstream text;
  text << "did not finish within the timeout of " << limit_s
       << " s. Another rank has not reached this operation, or has died. Look at what the other ranks do, or raise the "
          "group's timeout. [MFUGAKU_COMM_TIMEOUT_S]";
  return text.str();
}

}  // namespace mfugaku::comm
