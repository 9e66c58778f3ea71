// The source of the adamw kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/adamw/adamw.h"
#include "vec/math.h"

namespace mfugaku::kernels {
namespace {

using namespace vec;

struct Float32Alone {};  // no second copy of the parameters

// Moments move by a part of their distance where that is half or less of it: two operations, and the mean of equal numbers
// is that number. Where it is more, the distance may have lost what the new number has left.
template <typename Gradient, typename Low, bool decoupled, bool is_slow> struct Adamw {
  AdamwCoefficients by;
  float* parameter;
  const typename Gradient::Element* gradient;
  float *first, *second;
  void* low;

  template <typename Count> MFUGAKU_INLINE void read(int64_t i, Count count, F32& p, F32& g, F32& m, F32& v) const {
    p = load(Float32{}, parameter + i, count);
    g = load(Gradient{}, gradient + i, count);
    m = load(Float32{}, first + i, count);
    v = load(Float32{}, second + i, count);
  }

  MFUGAKU_INLINE void step(F32& p, F32 g, F32& m, F32& v) const {
    g = mul(g, broadcast(by.scale));
    if (!decoupled) g = fma(p, broadcast(by.decay), g);
    if (is_slow) {
      m = fma(sub(g, m), broadcast(by.first_weight), m);
      v = fnma(fnma(g, g, v), broadcast(by.second_weight), v);
    } else {
      m = fma(g, broadcast(by.first_weight), mul(m, broadcast(by.first_beta)));
      v = fma(mul(g, broadcast(by.second_weight)), g, mul(v, broadcast(by.second_beta)));
    }
    const F32 root = half_root(v);
    const F32 quotient = divide(m, fma(root, broadcast(by.root_factor), broadcast(by.eps)));
    if (decoupled) p = fnma(p, broadcast(by.decay), p);
    p = fnma(quotient, broadcast(by.rate), p);
  }

  template <typename Count> MFUGAKU_INLINE void write_low(Float32Alone, int64_t, F32, Count) const {}
  template <typename Format, typename Count>
  MFUGAKU_INLINE void write_low(Format, int64_t i, F32 p, Count count) const {
    store(Format{}, static_cast<typename Format::Element*>(low) + i, p, count);
  }
  template <typename Count> MFUGAKU_INLINE void write(int64_t i, Count count, F32 p, F32 m, F32 v) const {
    store(Float32{}, parameter + i, p, count);
    store(Float32{}, first + i, m, count);
    store(Float32{}, second + i, v, count);
    write_low(Low{}, i, p, count);
  }

  template <typename Count> MFUGAKU_INLINE void one(int64_t i, Count count) const {
    F32 p, g, m, v;
    read(i, count, p, g, m, v);
    step(p, g, m, v);
    write(i, count, p, m, v);
  }

  void run(int64_t i, int64_t end) const {
    const int64_t width = lanes();
    for (const int64_t last = end - width; i <= last; i += width) one(i, All{});
    if (i < end) one(i, First{end - i});
  }
};

template <typename Gradient, typename Low, bool decoupled>
void run_adamw(const AdamwJob& job, int64_t begin, int64_t end) {
  const auto& by = job.coefficients;
  const auto* const gradient = static_cast<const typename Gradient::Element*>(job.gradient);
  if (by.first_weight <= 0.5f && by.second_weight <= 0.5f)
    Adamw<Gradient, Low, decoupled, true>{by, job.parameter, gradient, job.first, job.second, job.low}.run(begin, end);
  else
    Adamw<Gradient, Low, decoupled, false>{by, job.parameter, gradient, job.first, job.second, job.low}.run(begin, end);
}

template <typename Gradient, typename Low> void adamw(const AdamwJob& job, int64_t begin, int64_t end) {
  if (job.decoupled)
    run_adamw<Gradient, Low, true>(job, begin, end);
  else
    run_adamw<Gradient, Low, false>(job, begin, end);
}

constexpr AdamwKernels kAdamw = {
    adamw<Float32, Float32Alone>, adamw<BFloat16, BFloat16>, adamw<Float16, Float16>,
    adamw<Float32, BFloat16>,     adamw<Float32, Float16>,
};

}  // namespace
}  // namespace mfugaku::kernels
