#include "bench/case.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace mfugaku::bench {
namespace {

struct Declared {
  Declare declare;
  std::set<Shapes> shapes;
};

std::vector<Declared>& declarations() {
  static std::vector<Declared> all;
  return all;
}

}  // namespace

kernels::Isa chosen_isa = kernels::Isa::Sve;

Declaration::Declaration(Declare declare, std::set<Shapes> shapes) {
  declarations().push_back({std::move(declare), std::move(shapes)});
}

std::vector<Case> list_cases(Shapes shapes) {
  std::vector<Case> all;
  for (const Declared& declared : declarations())
    if (declared.shapes.count(shapes) != 0)
      for (Case& item : declared.declare(shapes)) all.push_back(std::move(item));
  std::sort(all.begin(), all.end(), [](const Case& a, const Case& b) { return name_of(a) < name_of(b); });
  return all;
}

std::string name_of(const Case& item) {
  std::string name = item.op + (item.variant.empty() ? "" : " ") + item.variant + " " + item.dtype;
  for (std::size_t i = 0; i < item.shape.size(); ++i) name += (i == 0 ? " " : "x") + std::to_string(item.shape[i]);
  return name;
}

void refuse_isa(const char* op) {
  std::fprintf(stderr, "There is no kernel %s for %s on this processor, which has: %s\n", op,
               kernels::name_of(chosen_isa), kernels::describe_cpu().c_str());
  std::exit(2);
}

namespace {

// What `make(i)` is for the first of them, again and again: computing each would cost an emulator much.
template <typename T, typename Make> std::shared_ptr<T> make_repeated(int64_t count, const Make& make) {
  constexpr int64_t kPeriod = 64 * 101;
  auto values = make_array<T>(count);
  T* const data = values.get();
  for (int64_t i = 0; i < std::min(count, kPeriod); ++i) data[i] = make(i);
  for (int64_t i = kPeriod; i < count; i += kPeriod)
    std::memcpy(data + i, data, static_cast<std::size_t>(std::min(kPeriod, count - i)) * sizeof(T));
  return values;
}

}  // namespace

std::shared_ptr<float> make_floats(int64_t count) {
  return make_repeated<float>(count, [](int64_t i) { return static_cast<float>(i * 37 % 101 - 50) / 25.0f; });
}

std::shared_ptr<uint16_t> make_halves(int64_t count, const std::string& dtype) {
  // 0.5 to 2 with either sign: an exponent field of 14 or 15 of float16 and of 126 or 127 of bfloat16.
  const int mantissa_bits = dtype == "float16" ? 10 : 7, bias = dtype == "float16" ? 15 : 127;
  return make_repeated<uint16_t>(count, [=](int64_t i) {
    return static_cast<uint16_t>(i % 2 << 15 | (bias - i / 2 % 2) << mantissa_bits |
                                 (i * 37 & ((1 << mantissa_bits) - 1)));
  });
}

std::shared_ptr<void> make_values(int64_t count, const std::string& dtype) {
  if (dtype == "float32") return make_floats(count);
  return make_halves(count, dtype);
}

}  // namespace mfugaku::bench
