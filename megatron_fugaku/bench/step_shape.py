"""What ``mfugaku bench step`` trains, and who takes part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OURS, MEGATRON, TRANSFORMERS = "megatron_fugaku", "megatron-core on torch", "Hugging Face transformers"


@dataclass(frozen=True)
class StepShape:
    """A GPT and one training step of it. The defaults are GPT-2's smallest model: 124 M parameters.

    Attributes:
        precision: ``fp32`` or ``bf16``; bf16 keeps a copy of the parameters, and the gradients, in fp32.
        dropout: of attention and hidden states.
        micro_batch_size: samples of the step.
        vocab_size: a multiple of 128, which Megatron pads it to.
        num_threads: of the one process.
    """

    precision: str = "fp32"
    num_threads: int = 1
    dropout: float = 0.1
    num_layers: int = 12
    hidden_size: int = 768
    num_attention_heads: int = 12
    seq_length: int = 1024
    vocab_size: int = 50304
    micro_batch_size: int = 1

    @property
    def num_tokens(self) -> int:
        """Tokens of a step."""
        return self.micro_batch_size * self.seq_length

    def run_config(self) -> dict[str, Any]:
        """Return the same as a run's configuration."""
        return {
            "name": "bench-step",
            "model": {"style": "gpt", "num_layers": self.num_layers, "hidden_size": self.hidden_size,
                      "num_attention_heads": self.num_attention_heads, "seq_length": self.seq_length,
                      "vocab_size": self.vocab_size, "attention_dropout": self.dropout,
                      "hidden_dropout": self.dropout},
            "train": {"micro_batch_size": self.micro_batch_size, "global_batch_size": self.micro_batch_size,
                      "train_iters": 1000, "precision": self.precision},
            "optimizer": {"lr": 6e-4, "weight_decay": 0.1, "clip_grad": 1.0},
        }

    def describe(self) -> str:
        """Return a line such as ``GPT of 12 layers x 768, fp32, dropout 0.1, 1 x 1,024 tokens, 2 threads``."""
        return (f"GPT of {self.num_layers} layers x {self.hidden_size}, {self.precision}, dropout {self.dropout:g}, "
                f"{self.micro_batch_size} x {self.seq_length:,} tokens, {self.num_threads} "
                f"thread{'' if self.num_threads == 1 else 's'}")
