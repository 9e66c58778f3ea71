"""Builds the part of the model that this rank holds."""

from __future__ import annotations

from megatron.core import parallel_state
from megatron.core.transformer.transformer_block import get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_fugaku.config import RunConfig, padded_vocab_size
from megatron_fugaku.model.dropout import replace_embedding_dropout
from megatron_fugaku.model.embedding import replace_word_embedding
from megatron_fugaku.model.initialize import initialize_parameters
from megatron_fugaku.model.linear import replace_output_layer
from megatron_fugaku.model.loss import LanguageModel
from megatron_fugaku.model.spec import build_block_spec


def build_model_chunks(config: RunConfig, transformer_config: TransformerConfig, vocab_size: int,
                       parallel_output: bool = True) -> list[LanguageModel]:
    """Build and initialise this rank's model: one chunk, or ``virtual_pipeline_model_parallel_size`` of them.

    megatron-core's parallel state must be initialised.

    Args:
        config: the run.
        transformer_config: from :func:`megatron_fugaku.model.build_transformer_config` for this stage.
        vocab_size: of the tokenizer, before padding.
        parallel_output: leave the logits cut along the vocabulary, as the loss wants them.
    """
    model = config.model.resolved()
    num_chunks = config.parallel.virtual_pipeline_model_parallel_size or 1
    chunks = []
    for index in range(num_chunks):
        vp_stage = index if num_chunks > 1 else None
        chunk = LanguageModel(
            transformer_config,
            build_block_spec(model.normalization, model.swiglu,
                             get_num_layers_to_build(transformer_config, vp_stage=vp_stage)),
            vocab_size=padded_vocab_size(vocab_size, config),
            max_sequence_length=model.max_position_embeddings,
            pre_process=parallel_state.is_pipeline_first_stage(ignore_virtual=num_chunks == 1, vp_stage=vp_stage),
            post_process=parallel_state.is_pipeline_last_stage(ignore_virtual=num_chunks == 1, vp_stage=vp_stage),
            parallel_output=parallel_output,
            share_embeddings_and_output_weights=not model.untie_embeddings_and_output_weights,
            position_embedding_type=model.position_embedding_type,
            rotary_percent=model.rotary_percent,
            rotary_base=model.rotary_base,
            vp_stage=vp_stage,
        )
        replace_word_embedding(chunk)
        replace_embedding_dropout(chunk)
        replace_output_layer(chunk)
        initialize_parameters(chunk, model, config.train.seed)
        chunks.append(chunk)
    return chunks
