// Which kernels exist, and which of them run on this CPU.
//
// A family of kernels is a struct of function pointers with its name in `kOp`, filled once per instruction set; table.cpp
// lists them all. The first choice of a family decides for the life of the process: the widest instruction set that
// the CPU has, or what MFUGAKU_KERNELS says: "reduce=neon,dropout=portable", or "all=portable" for every family that is
// not named itself.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/isa.h"

namespace mfugaku::kernels {

// What MFUGAKU_KERNELS asks for cannot be had. The message says what, why it matters and what to do.
struct ChoiceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Row {
  const char* op;
  Isa isa;
  const void* kernels;  // the struct of the family
};

struct Choice {
  const char* op;
  Isa isa;
  const void* kernels;
  std::string reason;
};

// Every kernel compiled into this library, the widest instruction set of each family first.
const std::vector<Row>& table();

// The choice for every family under a given text of MFUGAKU_KERNELS. Throws ChoiceError.
std::vector<Choice> choose(const std::string& forced);

// The choices of this process, made when first asked for. Throws ChoiceError.
const std::vector<Choice>& choices();

// One line per family: op, isa, reason, separated by tabs. Throws ChoiceError.
std::string describe_choices();

const void* chosen_kernels(const char* op);

template <typename Family> const Family& chosen() {
  static const auto* const kernels = static_cast<const Family*>(chosen_kernels(Family::kOp));
  return *kernels;
}

// The kernels of a family for one instruction set, nullptr when this library or this CPU lacks it. For tests.
template <typename Family> const Family* kernels_for(Isa isa) {
  for (const Row& row : table())
    if (std::string(row.op) == Family::kOp && row.isa == isa && is_supported(isa))
      return static_cast<const Family*>(row.kernels);
  return nullptr;
}

}  // namespace mfugaku::kernels
