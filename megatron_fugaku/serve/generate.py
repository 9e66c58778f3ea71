"""Autoregressive generation with a key/value cache, on one rank or tensor-parallel over all ranks of the job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from megatron.core.inference.contexts import StaticInferenceContext
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_fugaku.checkpoint import CheckpointStore, load_model_weights
from megatron_fugaku.config import RunConfig
from megatron_fugaku.data.datasets import load_tokenizer, locate_data
from megatron_fugaku.data.tokenizer import SentencePieceTokenizer
from megatron_fugaku.errors import CheckpointError, ConfigError
from megatron_fugaku.model import build_model_chunks, build_transformer_config


@dataclass(frozen=True)
class SamplingOptions:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: at most so many; the end-of-document token ends earlier.
        temperature: logits are divided by it; 0 takes the most probable token.
        top_k: only the k most probable tokens; 0 takes all.
        top_p: only the most probable tokens whose probabilities sum up to p.
        seed: of the sampling.
    """

    max_new_tokens: int = 100
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    seed: int = 1234

    def __post_init__(self) -> None:
        for name, valid, wanted in (
            ("max_new_tokens", self.max_new_tokens > 0, "at least 1"),
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
        ):
            if not valid:
                raise ConfigError(f"{name} is {getattr(self, name)}", "no token could be chosen",
                                  f"give {wanted}", name)


def sample_token(logits: torch.Tensor, options: SamplingOptions, generator: torch.Generator) -> int:
    """Choose a token.

    Args:
        logits: fp32 [V], unnormalised.
        options: temperature, top-k and top-p (nucleus sampling, Holtzman et al., arXiv:1904.09751).
        generator: source of randomness.
    """
    if options.temperature == 0:
        return int(logits.argmax())
    # Less their greatest first: a temperature near zero would make them infinite.
    scaled = (logits - logits.max()) / options.temperature
    probabilities, tokens = torch.sort(torch.softmax(scaled, dim=-1), descending=True)
    keep = torch.cumsum(probabilities, dim=-1) - probabilities < options.top_p
    if options.top_k:
        keep[options.top_k:] = False
    keep[0] = True
    kept = probabilities * keep
    return int(tokens[torch.multinomial(kept / kept.sum(), 1, generator=generator)])


class Generator:
    """Continues prompts with a model.

    Args:
        model: whole in the pipeline direction; its logits are gathered over tensor-parallel ranks.
        tokenizer: of the model.
    """

    def __init__(self, model: GPTModel, tokenizer: SentencePieceTokenizer):
        self.model, self.tokenizer = model.eval(), tokenizer

    @torch.no_grad()
    def next_logits(self, context: StaticInferenceContext, tokens: list[int]) -> torch.Tensor:
        """Return fp32 [V] for the token after ``tokens``, which follow what ``context`` has cached."""
        start = context.sequence_len_offset
        ids = torch.tensor([tokens], dtype=torch.int64)
        positions = torch.arange(start, start + len(tokens), dtype=torch.int64).unsqueeze(0)
        logits = self.model(ids, positions, None, inference_context=context, runtime_gather_output=True)
        context.sequence_len_offset += len(tokens)
        context.enable_decode_mode()
        return logits[0, -1, : self.tokenizer.vocab_size].float()

    def generate(self, prompt: str, options: SamplingOptions) -> str:
        """Return the continuation of ``prompt``, without it.

        Raises:
            ConfigError: the prompt leaves no room in the model's positions.
        """
        # Training sees a document's text after the end-of-document token of the one before.
        tokens = [self.tokenizer.eod, *self.tokenizer.tokenize(prompt)]
        room = self.model.max_sequence_length - len(tokens)
        if room < 1:
            raise ConfigError(f"the prompt has {len(tokens)} tokens, the model {self.model.max_sequence_length} "
                              "positions", "there is no room for a continuation", "shorten the prompt", "--prompt")
        random = torch.Generator().manual_seed(options.seed)
        context = StaticInferenceContext(1, self.model.max_sequence_length)
        made: list[int] = []
        pending = tokens
        for _ in range(min(options.max_new_tokens, room)):
            token = sample_token(self.next_logits(context, pending), options, random)
            if token == self.tokenizer.eod:
                break
            made.append(token)
            pending = [token]
        whole = self.tokenizer.detokenize(tokens[1:] + made)
        return whole[len(prompt):] if whole.startswith(prompt) else self.tokenizer.detokenize(made)


def load_generator(config: RunConfig, iteration: int | None = None) -> tuple[Generator, int]:
    """Load the generator of a run from its checkpoint, whatever layout wrote it; collective.

    Args:
        config: the run, with the parallel sizes to generate with.
        iteration: step of the checkpoint; None takes the latest.

    Returns:
        (generator, step of the checkpoint).

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    store = CheckpointStore(config.checkpoint_directory)
    step = store.latest() if iteration is None else iteration
    if step is None:
        raise CheckpointError(f"{config.checkpoint_directory} holds no checkpoint", "there are no weights to generate "
                              "with", "train first, or name another run folder", str(config.checkpoint_directory))
    path: Path = store.check(step)
    tokenizer = load_tokenizer(locate_data(config))
    [model] = build_model_chunks(config, build_transformer_config(config, 0),
                                 config.model.vocab_size or tokenizer.vocab_size, parallel_output=False)
    load_model_weights([model], path)
    return Generator(model, tokenizer), step
