"""Text from trained models."""

from megatron_fugaku.serve.generate import Generator, SamplingOptions, load_generator

__all__ = ["Generator", "SamplingOptions", "load_generator"]
