// Work that somebody looks after until it is over.
#pragma once

namespace mfugaku::comm {

// No request of MPI stands for it: the engine drives it, under its lock.
class Poll {
 public:
  virtual ~Poll() = default;
  // Goes as far as possible without waiting; true when it is over. Sets `has_moved` when anything was done.
  virtual bool advance(bool& has_moved) = 0;
  // Whether others still read or write its memory. After an error it is then looked after until that is over.
  virtual bool is_holding_memory() const { return false; }
  // By which way it turned out to go, where that is found out on the way; else null.
  virtual const char* way() const { return nullptr; }
};

}  // namespace mfugaku::comm
