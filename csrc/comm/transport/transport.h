// What carries the messages of one operation to other ranks and back.
//
// All calls are made by whoever drives the operation, one at a time; none but complete(true) waits.
#pragma once

#include <cstdint>
#include <vector>

namespace mfugaku::comm {

class Transport {
 public:
  virtual ~Transport() = default;

  // Messages will lie in this memory, too: a transport that must prepare memory does so once, for all of it.
  virtual void declare(const void* /*memory*/, int64_t /*num_bytes*/) {}

  // Begins to send memory to a rank of the group, or to receive into it, and returns in how many parts that goes:
  // complete() gives `owner` back for each. Between two ranks, messages of one channel (0, 1, ...) meet in the order in
  // which they are posted. Memory belongs to the message until it is over. Throws CommFailure.
  virtual int post_send(int peer, int channel, const void* memory, int64_t num_bytes, int owner) = 0;
  virtual int post_receive(int peer, int channel, void* memory, int64_t num_bytes, int owner) = 0;

  // Appends the owners of parts that are over to `finished`; with `is_waiting`, not before there is one, unless nothing
  // is open. Throws CommFailure when a message failed. Others then remain open: further calls see them to their end.
  virtual void complete(bool is_waiting, std::vector<int>& finished) = 0;

  // Whether a message still holds memory.
  virtual bool has_open() const = 0;
};

}  // namespace mfugaku::comm
