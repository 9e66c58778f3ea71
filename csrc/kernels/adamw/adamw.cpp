#include "kernels/adamw/adamw.h"

#include <cmath>

namespace mfugaku::kernels {
namespace {

// base^exponent by multiplications alone, which round alike on every machine, as the C library's pow need not.
double power_of(double base, int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2 == 1) result *= base;
  return result;
}

}  // namespace

AdamwCoefficients adamw_coefficients(double lr, double beta1, double beta2, double eps, double weight_decay,
                                     int64_t step, double scale, bool decoupled) {
  AdamwCoefficients by;
  by.scale = static_cast<float>(scale);
  by.decay = static_cast<float>(decoupled ? lr * weight_decay : weight_decay);
  by.first_beta = static_cast<float>(beta1);
  by.second_beta = static_cast<float>(beta2);
  by.first_weight = static_cast<float>(1 - beta1);
  by.second_weight = static_cast<float>(1 - beta2);
  by.root_factor = static_cast<float>(std::sqrt(2 / (1 - power_of(beta2, step))));
  by.eps = static_cast<float>(eps);
  by.rate = static_cast<float>(lr / (1 - power_of(beta1, step)));
  return by;
}

}  // namespace mfugaku::kernels
