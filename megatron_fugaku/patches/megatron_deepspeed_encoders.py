"""Megatron-DeepSpeed's BERT and T5, whose forward passes were left behind when layers began to return losses of
experts beside their output."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any


def build_bert_forward(original: Callable) -> Callable:
    """Return ``BertModel.forward`` whose stages before the last return what they send on, without losses of experts."""

    @functools.wraps(original)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = original(self, *args, **kwargs)
        return output if self.post_process else output[0]

    return forward


def build_t5_forward(original: Callable) -> Callable:
    """Return ``T5Model.forward`` that returns a tensor: the losses of tokens, or what a stage sends on. Upstream adds
    losses of experts, which ``pretrain_t5.py`` takes for a part of the tensor; and a stage of the decoder alone looks
    for those of an encoder that it does not have."""

    @functools.wraps(original)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _an_encoder(self.language_model):
            output = original(self, *args, **kwargs)
        return output[0] if isinstance(output, tuple) else output

    return forward


def build_t5_head_init(original: Callable) -> Callable:
    """Return ``T5LMHead.__init__`` whose bias bears the mark by which optimizers tell what is split among
    tensor-parallel ranks; upstream gives it an older one."""

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.bias.tensor_model_parallel = True

    return __init__


@contextlib.contextmanager
def _an_encoder(language_model: Any) -> Iterator[None]:
    """Let a stage without an encoder have one that gives what the stage of the encoder has sent."""
    if language_model.encoder is not None:
        yield
        return
    language_model.encoder = lambda *args, **kwargs: (language_model.encoder_hidden_state,)
    try:
        yield
    finally:
        language_model.encoder = None


def build_layer_norm_init(original: Callable) -> Callable:
    """Return ``SPLayerNorm.__init__`` that takes the words of the norm on GPUs, which layers of a decoder pass on every
    device. Two choose how to compute; the third chooses what, and its option is refused: ``--apply-layernorm-1p``."""

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, no_persist_layer_norm: bool = False, apply_layernorm_1p: bool = False,
                 mem_efficient_ln: bool = False, **kwargs: Any) -> None:
        original(self, *args, **kwargs)

    return __init__
