"""What recomputation of whole layers need not do again.

Full recomputation runs a layer's forward pass once more for what its gradients need. The sum of the last linear
layer's parts over the tensor-parallel ranks is no such thing: it only goes into the layer's output, which is thrown
away, and the gradient of a sum is the same whatever the sum was. Leaving it out spares one all-reduce in six and
changes no bit of the loss.
"""

from __future__ import annotations

import torch

from megatron_fugaku.model.linear import RowLinear


class LayerOutputLinear(RowLinear):
    """The linear layer at the end of a transformer layer."""

    def forward(self, input_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return (output, bias), the output summed over the tensor-parallel ranks unless it is of no use.

        Args:
            input_: of shape (sequence, micro-batch, ffn hidden / tensor-parallel size).
        """
        if not self._is_recomputing_last():
            return super().forward(input_)
        before, self.explicit_expert_comm = self.explicit_expert_comm, True  # upstream's word for: others will sum up
        try:
            return super().forward(input_)
        finally:
            self.explicit_expert_comm = before

    def _is_recomputing_last(self) -> bool:
        """Whether this pass is a second one and nothing of it comes behind this layer.

        Where every layer is recomputed by itself, gradients are on in the second pass only. With sequence parallelism
        the shape of the output changes with the sum, and so it stays.
        """
        config = self.config
        return (self.training and torch.is_grad_enabled() and self.skip_bias_add and not self.sequence_parallel
                and config.recompute_granularity == "full" and config.recompute_method == "uniform"
                and config.recompute_num_layers == 1)
