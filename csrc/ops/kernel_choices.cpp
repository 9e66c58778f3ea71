#include "kernels/registry.h"
#include "ops/ops.h"

namespace mfugaku::ops {

std::string kernel_choices() { return kernels::describe_choices(); }

}  // namespace mfugaku::ops
