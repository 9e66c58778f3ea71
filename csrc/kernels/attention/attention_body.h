// The source of the attention kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/attention/attention_backward.h"
#include "kernels/attention/attention_forward.h"

namespace mfugaku::kernels {
namespace {

int64_t scratch_size(int64_t width) {
  Cutter forward(nullptr), backward(nullptr);
  ForwardScratch(forward, width), BackwardScratch(backward, width);
  return most(forward.taken(), backward.taken());
}

constexpr AttentionKernels kAttention = {
    kTileRows,
    tile_columns,
    {attention_pack_rows<Float32>, attention_pack_rows<BFloat16>, attention_pack_rows<Float16>},
    {attention_pack_blocks<Float32>, attention_pack_blocks<BFloat16>, attention_pack_blocks<Float16>},
    scratch_size,
    {attention_forward<Float32>, attention_forward<BFloat16>, attention_forward<Float16>},
    {attention_project<Float32>, attention_project<BFloat16>, attention_project<Float16>},
    {attention_sum_queries<Float32>, attention_sum_queries<BFloat16>, attention_sum_queries<Float16>},
    {attention_backward<Float32>, attention_backward<BFloat16>, attention_backward<Float16>},
};

}  // namespace
}  // namespace mfugaku::kernels
