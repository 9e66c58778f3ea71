// The choice of kernels: by CPU features, by force, and refusals.
#include <doctest/doctest.h>

#include <set>

#include "kernels/registry.h"

using namespace mfugaku::kernels;

namespace {

std::string refusal(const std::string& forced) {
  try {
    choose(forced);
  } catch (const ChoiceError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::set<std::string> ops() {
  std::set<std::string> names;
  for (const Row& row : table()) names.insert(row.op);
  return names;
}

}  // namespace

TEST_CASE("every instruction set of this CPU has every kernel") {
  for (const auto& op : ops())
    for (int i = 0; i < kNumIsas; ++i) {
      if (!is_supported(static_cast<Isa>(i))) continue;
      int rows = 0;
      for (const Row& row : table()) rows += row.op == op && row.isa == static_cast<Isa>(i);
      CAPTURE(op);
      CAPTURE(i);
      CHECK(rows == 1);
    }
}

TEST_CASE("the choice is one that this CPU has, and says why") {
  MESSAGE("this CPU has: ", describe_cpu());
  const auto chosen = choose("");
  CHECK(chosen.size() == ops().size());
  for (const auto& choice : chosen) {
    CHECK(is_supported(choice.isa));
    CHECK(contains(choice.reason, name_of(choice.isa)));
  }
#if defined(__aarch64__)
  const Isa best = sve_vector_bytes() > 16 ? Isa::Sve : Isa::Neon;
#else
  const Isa best = is_supported(Isa::Avx512) ? Isa::Avx512 : is_supported(Isa::Avx2) ? Isa::Avx2 : Isa::Portable;
#endif
  for (const auto& choice : chosen) CHECK(choice.isa == best);
}

TEST_CASE("a forced choice is obeyed, and a kernel's own name wins over all") {
  for (const auto& choice : choose("all=portable")) CHECK(choice.isa == Isa::Portable);
  for (const auto& choice : choose(" reduce = portable ,")) {
    if (std::string(choice.op) == "reduce") {
      CHECK(choice.isa == Isa::Portable);
      CHECK(contains(choice.reason, "MFUGAKU_KERNELS"));
    }
  }
  for (int i = 0; i < kNumIsas; ++i) {
    if (!is_supported(static_cast<Isa>(i))) continue;
    for (const auto& choice : choose(std::string("reduce=portable,all=") + name_of(static_cast<Isa>(i))))
      CHECK(choice.isa == (std::string(choice.op) == "reduce" ? Isa::Portable : static_cast<Isa>(i)));
  }
}

TEST_CASE("what cannot be had is refused in one line that says what to do") {
  CHECK(contains(refusal("redcue=portable"), "There is no kernel 'redcue'"));
  CHECK(contains(refusal("redcue=portable"), "reduce"));
  CHECK(contains(refusal("reduce=sse9"), "'sse9' is not an instruction set"));
  CHECK(contains(refusal("portable"), "all=portable"));
  CHECK(contains(refusal("all="), "is not an instruction set"));
  for (int i = 0; i < kNumIsas; ++i) {
    const auto isa = static_cast<Isa>(i);
    if (is_supported(isa)) continue;
    const std::string text = refusal(std::string("all=") + name_of(isa));
    CHECK(contains(text, std::string("This CPU has no ") + name_of(isa)));
    CHECK(contains(text, describe_cpu()));
    CHECK(!contains(text, "\n"));
  }
}
