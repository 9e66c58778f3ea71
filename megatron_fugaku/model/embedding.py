"""The word embedding of the model by our operator; megatron-core has no spec for it."""

from __future__ import annotations

import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel import VocabParallelEmbedding
from megatron.core.tensor_parallel.mappings import (
    reduce_from_tensor_model_parallel_region,
    reduce_scatter_to_sequence_parallel_region,
)

from megatron_fugaku.kernels.embedding import embedding
from megatron_fugaku.kernels.extension import load_operators


class WordEmbedding(VocabParallelEmbedding):
    """megatron-core's embedding cut along the vocabulary: tokens [B, S] to [B, S, H], or [S / ranks, B, H] where it
    scatters to ranks that share the sequence."""

    def forward(self, input_: torch.Tensor) -> torch.Tensor:
        """Return the embeddings, summed over the ranks that share the vocabulary."""
        output = embedding(self.weight, input_, self.vocab_start_index, self.num_embeddings)
        if self.reduce_scatter_embeddings:
            return reduce_scatter_to_sequence_parallel_region(output.transpose(0, 1).contiguous(), group=self.tp_group)
        return reduce_from_tensor_model_parallel_region(output, group=self.tp_group)


def replace_word_embedding(model: GPTModel) -> None:
    """Give the word embedding of a first stage our forward pass."""
    if model.pre_process and load_operators() is not None:
        model.embedding.word_embeddings.__class__ = WordEmbedding
