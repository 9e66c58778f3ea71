// The source of the attention kernels over the names of vec/vec.h, compiled once per instruction set.
#pragma once

#include "kernels/attention/attention_backward.h"
#include "kernels/attention/attention_forward.h"

namespace mfugaku::kernels {
namespace {

constexpr AttentionKernels kAttention = {
    kTileRows,
    tile_columns,
    {attention_pack_rows<Float32>, attention_pack_rows<BFloat16>, attention_pack_rows<Float16>},
    {attention_pack_blocks<Float32>, attention_pack_blocks<BFloat16>, attention_pack_blocks<Float16>},
    Scratch::size,
    {attention_forward<Float32>, attention_forward<BFloat16>, attention_forward<Float16>},
    {attention_backward_queries<Float32>, attention_backward_queries<BFloat16>, attention_backward_queries<Float16>},
    {attention_backward_keys<Float32>, attention_backward_keys<BFloat16>, attention_backward_keys<Float16>},
};

}  // namespace
}  // namespace mfugaku::kernels
