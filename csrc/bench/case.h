// The cases in which instructions of the kernels are counted. A family of kernels has one file here that declares its
// cases; nothing else knows of it:
//
//   const Declaration declaration([](Shapes shapes) { return std::vector<Case>{...}; });
//
// A case names what is computed, in words by which stock torch's side goes too: kernel_peer_program.py of
// megatron_fugaku/bench.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kernels/registry.h"

namespace mfugaku::bench {

// What work is split by, as csrc/ops splits it: parallel(count, grain, body) calls body(begin, end) for all of
// [0, count) on any threads, in ranges of `grain` or more, and returns when all have ended.
using Body = std::function<void(int64_t begin, int64_t end)>;
using Parallel = std::function<void(int64_t count, int64_t grain, const Body& body)>;
// Runs a case once; keeps all memory that it works on.
using Run = std::function<void(const Parallel& parallel)>;

struct Case {
  std::string op;       // of the family
  std::string variant;  // "forward", "backward", ..., empty where an op has only one
  std::string dtype;
  std::vector<int64_t> shape;
  std::string unit;  // what instructions are counted per: "element" or "flop"
  int64_t num_units;
  int64_t num_bytes;  // the least that has to come from memory and go there
  std::function<Run(int64_t num_threads)> prepare;  // with all memory that it takes
  // Where a kernel is less accurate than float32: the root mean square of its errors against float64, for random
  // numbers and in multiples of that of the results.
  std::function<double()> measure_error = nullptr;
};

// Small ones in all types, which cost an emulator little; the whole ones of the 13B model on 6 ranks, for threads to
// share, in float32 alone, since they share other types alike, and with little depth; or, where small ones overstate
// what a kernel does beside its work, deep ones for one thread: a head of the 13B model, or a part of a layer.
enum class Shapes { Small, Whole, Deep };
using Declare = std::function<std::vector<Case>(Shapes shapes)>;

struct Declaration {
  // `declare` is asked for these shapes alone.
  explicit Declaration(Declare declare, std::set<Shapes> shapes = {Shapes::Small, Shapes::Whole});
};

// All cases, in the order of their names.
std::vector<Case> list_cases(Shapes shapes);

// Elements of a tile, as of csrc/ops: fewer are not worth a second thread.
constexpr int64_t kGrain = 16384;

// "op variant dtype 16x3456"
std::string name_of(const Case& item);

// What cases run with: main's choice.
extern kernels::Isa chosen_isa;

// The family's kernels, or an error and the end of the program where this processor lacks them.
[[noreturn]] void refuse_isa(const char* op);
template <typename Family> const Family& kernels_of() {
  const Family* const found = kernels::kernels_for<Family>(chosen_isa);
  if (found == nullptr) refuse_isa(Family::kOp);
  return *found;
}

// Memory that begins at a multiple of the A64FX's lines, so that counts do not depend on where it lies; not set to
// anything.
template <typename T> std::shared_ptr<T> make_array(int64_t count) {
  constexpr std::size_t kLine = 256;
  const std::size_t num_bytes = (static_cast<std::size_t>(count) * sizeof(T) / kLine + 1) * kLine;
  auto* const begin = static_cast<T*>(std::aligned_alloc(kLine, num_bytes));
  return {begin, std::free};
}

// Numbers between -2 and 2 that repeat, and no two neighbours alike.
std::shared_ptr<float> make_floats(int64_t count);
// The same as the 16 bits that a format stores.
std::shared_ptr<uint16_t> make_halves(int64_t count, const std::string& dtype);
// Either of them, by the name of the type.
std::shared_ptr<void> make_values(int64_t count, const std::string& dtype);

inline int64_t bytes_of(const std::string& dtype) { return dtype == "float32" ? 4 : 2; }

}  // namespace mfugaku::bench
