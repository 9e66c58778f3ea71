// The source of the gemm_bf16 kernels for CPUs without BF16 instructions, over the names of vec/bf16.h: the panels of
// gemm.h, and another tile.
#pragma once

#define MFUGAKU_TILE_ROWS 4
#include "kernels/gemm/gemm_body.h"
#include "kernels/gemm_bf16/gemm_bf16.h"
#include "vec/bf16.h"

namespace mfugaku::kernels {
namespace {

struct PairsOfProducts {
  static constexpr int64_t kLeastDepth = 1;

  template <typename Before, typename After, typename Part>
  static void run(const float* a, const float* b, int64_t depth, TileSide<Before> before, TileSide<After> after,
                  float alpha, Part part, Ahead) {
    const F32 factor = broadcast(alpha), zero = broadcast(0.0f);
    for (int64_t row = 0; row < part.rows(); ++row)
      for (int64_t i = 0; i < 3; ++i) {
        const float *x = a + row, *y = b + i * lanes();
        F32 sum = zero;
        if (before.first != nullptr)
          sum = without_subnormals(part.get(Before{}, before.first + row * before.row_stride, i));
        for (int64_t k = 0; k < depth; k += 4)
          for (int64_t pair = k; pair < k + 4; pair += 2) {  // an instruction has two, and zeros behind the last
            const F32 a0 = pair < depth ? element(x) : zero, b0 = pair < depth ? elements(y) : zero;
            const F32 a1 = pair + 1 < depth ? element(x + kTileRows) : zero;
            const F32 b1 = pair + 1 < depth ? elements(y + tile_columns()) : zero;
            add_two_products(sum, a0, b0, a1, b1);
            x += 2 * kTileRows, y += 2 * tile_columns();
          }
        part.put(After{}, after.first + row * after.row_stride, i, mul(factor, sum));
      }
  }

 private:
  static F32 element(const float* p) { return without_subnormals(broadcast(*p)); }
  static F32 elements(const float* p) { return without_subnormals(load(Float32{}, p, All{})); }
};

constexpr GemmBf16Kernels kGemmBf16 = {{
    kTileRows,
    tile_columns,
    {nullptr, gemm_pack<BFloat16, true>, nullptr},
    {nullptr, gemm_pack<BFloat16, false>, nullptr},
    {gemm_multiply<Float32, PairsOfProducts>, gemm_multiply<BFloat16, PairsOfProducts>, nullptr},
    PairsOfProducts::kLeastDepth,
}};

}  // namespace
}  // namespace mfugaku::kernels
