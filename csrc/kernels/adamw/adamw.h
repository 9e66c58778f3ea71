// One step of AdamW (Loshchilov and Hutter, arXiv:1711.05101, algorithm 2) or Adam on flat arrays, in one pass. With g the
// gradient times `scale`, for Adam plus weight_decay times the parameter, rounded to float32:
//
//   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
//   p -= lr weight_decay p + lr / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + eps)     Adam: without the first term
//
// Parameters and moments are float32. A gradient of halves comes with parameters of halves, `low`, which become the
// float32 ones rounded once; with a float32 gradient `low` may be null. In float32
//
//   |error of m| <= 2e-7 (|beta1 m| + |(1 - beta1) g|),   |error of v| <= 2e-7 of the new v,
//   |error of p| <= 1.2e-7 |p| + 6e-7 |the last term, of the new m and v|
//
// where eps is at least 1e-37 and g^2 finite: an infinite one makes p a NaN, and a NaN makes p, m and v one.
//
// The caller owns all memory and threads, and may give any range of elements to any thread. Pointers need the alignment of
// their element only; nothing outside the range is read or written; no two arrays overlap.
#pragma once

#include <cstdint>

namespace mfugaku::kernels {

// What a step is, rounded to float32 once.
struct AdamwCoefficients {
  float scale;         // of the gradient
  float decay;         // of the parameter: lr weight_decay, or what Adam adds of it to the gradient
  float first_beta, first_weight;  // beta1, 1 - beta1
  float second_beta, second_weight;
  float root_factor;  // sqrt(2 / (1 - beta2^step)), of the root of v / 2
  float eps;
  float rate;  // lr / (1 - beta1^step)
};

// The same bits on every machine. step >= 1.
AdamwCoefficients adamw_coefficients(double lr, double beta1, double beta2, double eps, double weight_decay,
                                     int64_t step, double scale, bool decoupled);

struct AdamwJob {
  float* parameter;
  const void* gradient;
  float* first;   // moment m
  float* second;  // moment v
  void* low;      // or nullptr
  AdamwCoefficients coefficients;
  bool decoupled;  // AdamW; else Adam
};

struct AdamwKernels {
  static constexpr const char* kOp = "adamw";
  using Run = void (*)(const AdamwJob& job, int64_t begin, int64_t end);  // elements [begin, end)
  Run float32, bfloat16, float16;                // by the type of the gradient, and of low
  Run float32_to_bfloat16, float32_to_float16;  // gradients of float32, low of halves
};

extern const AdamwKernels adamw_portable, adamw_avx2, adamw_avx512, adamw_neon, adamw_sve;

}  // namespace mfugaku::kernels
