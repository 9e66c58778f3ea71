// The marks as functions of a library of aarch64, for programs that are not C++: Python calls them through ctypes.
#include "emulator/marks.h"

extern "C" {

__attribute__((visibility("default"))) void mfugaku_begin_region() { mfugaku::emulator::begin_region(); }
__attribute__((visibility("default"))) void mfugaku_end_region() { mfugaku::emulator::end_region(); }

}  // extern "C"
