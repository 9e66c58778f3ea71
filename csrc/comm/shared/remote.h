// Reading another process's memory with the kernel's help, for tensors that lie in no shared memory.
#pragma once

#include <cstdint>

namespace mfugaku::comm {

// Lets the other processes of this user read this one where the system asks for that (Yama). Open MPI does the same.
void permit_remote_reads();

// A value in this process that `can_read_from` looks for in others.
const uint64_t* remote_mark();

// Whether the process can be read: its mark at `address` is found.
bool can_read_from(int32_t pid, const uint64_t* address);

// Copies memory of another process. Throws CommFailure when the system refuses or the memory is gone.
void read_remote(int32_t pid, const void* from, void* to, int64_t num_bytes);

}  // namespace mfugaku::comm
