"""One contender of ``mfugaku bench step``: argv[1] says which, argv[2] is the shape as JSON. A line on stdin asks for a
training step; the answer on stdout is a line of JSON with the seconds that it took and its loss."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import torch

from megatron_fugaku.bench.step_shape import MEGATRON, OURS, TRANSFORMERS, StepShape

#: Does one training step and returns the mean loss.
Step = Callable[[], float]


class RandomText:
    """Samples of random tokens, the same for every contender; as a dataset of Megatron has them."""

    def __init__(self, shape: StepShape):
        self._shape = shape

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = torch.Generator().manual_seed(index)
        length = self._shape.seq_length
        # From a part of the vocabulary, so that there is something to learn: the loss must fall.
        text = torch.randint(0, self._shape.vocab_size // 8, (length + 1,), generator=random)
        return {"tokens": text[:-1], "labels": text[1:], "position_ids": torch.arange(length),
                "loss_mask": torch.ones(length)}


def build_megatron_step(shape: StepShape, is_ours: bool) -> Step:
    """Return a step of megatron-core's GPT with our spec and kernels, or with its local spec on torch's own operators.

    Data parallelism, optimizer and schedule are the same code for both, and so are the initial weights.
    """
    from megatron_fugaku import patches
    from megatron_fugaku.config import RunConfig
    from megatron_fugaku.freed_memory import keep_freed_memory

    if is_ours:
        keep_freed_memory()
    patches.apply()
    torch.distributed.init_process_group("mpi")

    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.models.gpt.gpt_model import GPTModel

    from megatron_fugaku.model import build_model_chunks, build_transformer_config
    from megatron_fugaku.model.initialize import initialize_parameters
    from megatron_fugaku.train import optimizer as optimization
    from megatron_fugaku.train.runtime import initialize_parallel
    from megatron_fugaku.train.step import DataReader, run_schedule, update_parameters

    config = RunConfig.model_validate({**shape.run_config(), "kernels": "auto" if is_ours else "reference"})
    initialize_parallel(config)
    transformer_config = build_transformer_config(config, 0)
    if is_ours:
        models = build_model_chunks(config, transformer_config, shape.vocab_size)
    else:
        transformer_config.use_te_activation_func = False  # the local spec has no module for it
        models = [GPTModel(transformer_config, get_gpt_layer_local_spec(), shape.vocab_size, shape.seq_length,
                           share_embeddings_and_output_weights=True)]
        initialize_parameters(models[0], config.model.resolved(), config.train.seed)
    chunks = optimization.wrap_data_parallel(config, transformer_config, models)
    optimization.connect_schedule(config, transformer_config, chunks)
    optimizer = optimization.build_optimizer(config, transformer_config, chunks)
    reader, text = DataReader(config), RandomText(shape)
    chunks[0].train()
    consumed = 0

    def step() -> float:
        nonlocal consumed
        chunks[0].zero_grad_buffer()
        optimizer.zero_grad()
        loss = run_schedule(config, chunks, reader, text, consumed, False)
        update_parameters(optimizer)
        consumed += shape.micro_batch_size
        return loss

    return step


def build_transformers_step(shape: StepShape) -> Step:
    """Return a step of Hugging Face transformers' GPT-2, with torch's scaled_dot_product_attention and fused AdamW; for
    bf16 under autocast, as its Trainer does it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=shape.vocab_size, n_positions=shape.seq_length, n_embd=shape.hidden_size, n_layer=shape.num_layers,
        n_head=shape.num_attention_heads, activation_function="gelu", resid_pdrop=shape.dropout,
        embd_pdrop=shape.dropout, attn_pdrop=shape.dropout, use_cache=False, attn_implementation="sdpa"))
    model.train()
    options = shape.run_config()["optimizer"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=options["lr"], betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    batches = _batches(shape)

    def step() -> float:
        tokens = next(batches)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=shape.precision == "bf16"):
            loss = model(tokens, labels=tokens).loss  # which it moves on by one itself
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options["clip_grad"])
        optimizer.step()
        return float(loss)

    return step


def _batches(shape: StepShape) -> Iterator[torch.Tensor]:
    text = RandomText(shape)
    for first in itertools.count(0, shape.micro_batch_size):
        yield torch.stack([text[first + number]["tokens"] for number in range(shape.micro_batch_size)])


BUILDERS: dict[str, Callable[[StepShape], Step]] = {
    OURS: lambda shape: build_megatron_step(shape, is_ours=True),
    MEGATRON: lambda shape: build_megatron_step(shape, is_ours=False),
    TRANSFORMERS: build_transformers_step,
}


def serve(step: Step, asked: Iterator[str], answers: TextIO) -> None:
    """Answer ``{}`` when ready; then do a step for each line asked and answer ``{"loss": …, "wall_s": …}``."""
    _answer(answers, {})
    for _ in asked:
        begin = time.perf_counter()
        loss = step()
        _answer(answers, {"loss": loss, "wall_s": time.perf_counter() - begin})


def _answer(answers: TextIO, facts: dict[str, Any]) -> None:
    answers.write(json.dumps(facts) + "\n")
    answers.flush()


def main() -> None:
    """Build the contender and serve until stdin ends."""
    # Whatever the libraries print shall not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    shape = StepShape(**json.loads(sys.argv[2]))
    torch.set_num_threads(shape.num_threads)
    torch.manual_seed(1234)
    serve(BUILDERS[sys.argv[1]](shape), iter(sys.stdin.readline, ""), answers)


if __name__ == "__main__":
    main()
