"""Options that Fugaku's fork of Megatron-DeepSpeed knew, understood by an unmodified checkout.

Names are those of github.com/Fugaku-LLM/DeepSpeedFugaku. A script that was written for the fork runs as it is.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.errors import ConfigError
from megatron_fugaku.patches.options import allow_choice, refuse_options, wrap_parse_args

TOKENIZER = "JapaneseSentencePiece"
#: Options that need a GPU, and what of it.
_CUDA_ONLY = {
    "use_flash_attn_v1": "flash-attn",
    "use_flash_attn_v2": "flash-attn",
    "use_flash_attn_triton": "Triton",
    "use_flash_attn_builder": "DeepSpeed's CUDA kernels",
    "ds_fused_adam": "DeepSpeed's CUDA kernels",
    "fp8_e4m3": "Transformer Engine",
    "fp8_hybrid": "Transformer Engine",
    "use_tutel": "Tutel",
    "apply_layernorm_1p": "Apex",
}


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options to Megatron-DeepSpeed's parser, and the choices that its own options lack."""
    group = parser.add_argument_group("CPU clusters")
    known = set(parser._option_string_actions)

    def add(name: str, **settings: Any) -> None:
        if name not in known:
            group.add_argument(name, **settings)

    add("--no-cuda", action="store_true", help="Train on CPUs; always so here.")
    add("--device-count", type=int, default=0, help="Accepted and without effect: a rank is a CPU process.")
    add("--use-flush-denormal", action="store_true", help="Let the CPU take denormal numbers for zero.")
    add("--cpu-torch-adam", action="store_true", dest="cpu_torch_adam", help="As --cpu_torch_adam.")
    add("--override-lr-scheduler", action="store_true", dest="override_opt_param_scheduler",
        help="As --override-opt_param-scheduler.")
    add("--use-checkpoint-lr-scheduler", action="store_true", dest="use_checkpoint_opt_param_scheduler",
        help="As --use-checkpoint-opt_param-scheduler.")
    add("--use-contiguous-buffers-in-ddp", action="store_true", dest="use_contiguous_buffers_in_local_ddp",
        default=True, help="Accepted: it is the default.")
    add("--use-cached-dataset", action="store_true",
        help="Read the index files of an earlier run; no rank builds them or waits for another.")
    add("--use-timer", action="store_true", help="Write what each rank took to timers/rank_N.jsonl.")
    add("--skip-train-iteration-range", nargs="+", type=parse_range, default=[], metavar="FIRST-LAST",
        help="Iterations, counted from 1, whose data is read and from which nothing is learned.")
    add("--skip-nonfinite-iterations", action="store_true",
        help="Leave the weights as they are where a gradient is not finite (without --deepspeed).")
    add("--checkpoint-activations-stages", type=int, default=None, metavar="N",
        help="Recompute activations in the first N pipeline stages only.")
    add("--wandb-name", dest="wandb_exp_name", default="", help="As --wandb-exp-name.")
    add("--wandb-entity", default=None, help="The wandb entity, as the variable WANDB_ENTITY.")
    add("--wandb-id", default=None, help="The wandb run to go on with, as the variable WANDB_RUN_ID.")
    allow_choice(parser, "--distributed-backend", "mpi")
    allow_choice(parser, "--tokenizer-type", TOKENIZER)
    return parser


def parse_range(text: str) -> tuple[int, int]:
    """Read ``12-20`` or ``12`` as the first and the last iteration."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no range of iterations like 12-20")
    return int(match[1]), int(match[2] or match[1])


def build_parse_args(original: Callable) -> Callable:
    """Return ``parse_args`` that knows the options too."""
    return wrap_parse_args(original, add_options, _finish)


def _finish(parsed: argparse.Namespace) -> None:
    _check(parsed)
    parsed.local_rank = None  # upstream compares it with a device's number; a program's own default is 0 on all ranks
    parsed.scatter_gather_tensors_in_pipeline = False  # only generation reads it, by functions that have moved
    # A model of pipeline stages reads it with --deepspeed and, for rotary embeddings, without.
    if not hasattr(parsed, "deepspeed_config_dict"):
        parsed.deepspeed_config_dict = None
    if parsed.checkpoint_activations and parsed.recompute_method is None:
        # Upstream's own training, unlike DeepSpeed's, wants its newer words for it.
        parsed.recompute_granularity, parsed.recompute_method = "full", "uniform"
        parsed.recompute_num_layers = parsed.checkpoint_num_layers
    if parsed.cpu_optimizer and parsed.cpu_torch_adam:
        # Upstream's branch for them lacks an import; its other one builds the same optimizer (patch mds-adam).
        parsed.cpu_optimizer = False
    # Fused kernels are CUDA sources; their plain versions are what runs here.
    parsed.masked_softmax_fusion = False
    parsed.gradient_accumulation_fusion = False
    if parsed.use_flush_denormal:
        torch.set_flush_denormal(True)
    if parsed.use_timer:
        parsed.timing_log_level = 2  # timers of a higher level are not kept at all
    for name, value in (("WANDB_ENTITY", parsed.wandb_entity), ("WANDB_RUN_ID", parsed.wandb_id)):
        if value is not None:
            os.environ.setdefault(name, value)


def _check(args: argparse.Namespace) -> None:
    """Refuse what needs a GPU, before anything is built.

    Raises:
        ConfigError: naming the option.
    """
    refuse_options(args, _CUDA_ONLY)
    if getattr(args, "use_rotary_position_embeddings", False) and args.pipeline_model_parallel_size > 1 \
            and not args.deepspeed:
        raise ConfigError(f"--use-rotary-position-embeddings was given with {args.pipeline_model_parallel_size} "
                          "pipeline stages", "Megatron-DeepSpeed's own pipeline asks stages after the first for an "
                          "input that they do not have", "add --deepspeed, whose pipeline does not",
                          "--use-rotary-position-embeddings")
    if getattr(args, "transformer_impl", "local") == "transformer_engine":
        raise ConfigError("--transformer-impl transformer_engine was given", "Transformer Engine needs a GPU",
                          "use --transformer-impl local", "--transformer-impl")


def build_tokenizer(original: Callable) -> Callable:
    """Return ``build_tokenizer`` that knows JapaneseSentencePiece: the SentencePiece model of ``--vocab-file``."""

    @functools.wraps(original)
    def build(args: argparse.Namespace) -> Any:
        if args.tokenizer_type != TOKENIZER:
            return original(args)
        from megatron.tokenizer import tokenizer as upstream

        if args.vocab_file is None:
            raise ConfigError(f"--tokenizer-type {TOKENIZER} was given without --vocab-file",
                              "its pieces are those of a SentencePiece model", "give the .model file", "--vocab-file")
        tokenizer = _sentence_piece_class(upstream)(args.vocab_file)
        args.padded_vocab_size = upstream._vocab_size_with_padding(tokenizer.vocab_size, args)
        return tokenizer

    return build


def _sentence_piece_class(upstream: Any) -> type:
    import sentencepiece

    class JapaneseSentencePiece(upstream.AbstractTokenizer):
        """The pieces of a SentencePiece model as they are; a document ends with ``</s>``."""

        def __init__(self, model_file: str):
            super().__init__("Japanese SentencePiece")
            self._processor = sentencepiece.SentencePieceProcessor(model_file=model_file)

        @property
        def vocab_size(self) -> int:
            """Number of pieces."""
            return self._processor.vocab_size()

        @property
        def vocab(self) -> dict[str, int]:
            """Pieces to their numbers."""
            return {piece: number for number, piece in self.inv_vocab.items()}

        @property
        def inv_vocab(self) -> dict[int, str]:
            """Numbers to their pieces."""
            return {number: self._processor.id_to_piece(number) for number in range(self.vocab_size)}

        def tokenize(self, text: str) -> list[int]:
            """Encode a text; line ends are ``\\n``."""
            return self._processor.encode(text.replace("\r\n", "\n"))

        def detokenize(self, token_ids: list[int]) -> str:
            """Decode."""
            return self._processor.decode(token_ids)

        @property
        def eod(self) -> int:
            """The end of a document."""
            return self._processor.piece_to_id("</s>")

    return JapaneseSentencePiece
