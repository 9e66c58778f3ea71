// What stands behind the handles of mfugaku_comm.h, and the border that no exception crosses.
#pragma once

#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "../core.h"
#include "mfugaku_comm.h"

struct mfugaku_comm_group {
  std::shared_ptr<mfugaku::comm::Group> group;
  int rank, size;
};

struct mfugaku_comm_work {
  mfugaku::comm::OperationPtr operation;
};

namespace mfugaku::comm {

// Keeps the words for mfugaku_comm_last_error of this thread, cut to what fits, and returns the status.
int note_error(mfugaku_comm_status status, const char* text) noexcept;

template <typename Body>
int guarded(const Body& body) noexcept {
  try {
    body();
    return MFUGAKU_COMM_OK;
  } catch (const std::invalid_argument& error) {
    return note_error(MFUGAKU_COMM_BAD_ARGUMENT, error.what());
  } catch (const CommFailure& error) {
    return note_error(MFUGAKU_COMM_FAILED, error.what());
  } catch (const std::bad_alloc&) {
    return note_error(MFUGAKU_COMM_NO_MEMORY, "there is no memory left");
  } catch (const std::exception& error) {
    return note_error(MFUGAKU_COMM_FAULT, error.what());
  } catch (...) {
    return note_error(MFUGAKU_COMM_FAULT, "an exception of an unknown kind");
  }
}

inline void require_argument(bool is_given, const char* what) {
  if (!is_given) throw std::invalid_argument(what);
}

inline DataType type_of(int type) {
  require_argument(type >= 0 && type <= MFUGAKU_COMM_COMPLEX128, "the type is none of mfugaku_comm_type");
  return static_cast<DataType>(type);
}

}  // namespace mfugaku::comm
