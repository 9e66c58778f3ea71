"""Token files to megatron-core's GPT datasets for training and validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import get_blend_from_list

from megatron_fugaku.config import RunConfig
from megatron_fugaku.data.manifest import load_manifest
from megatron_fugaku.data.tokenizer import SentencePieceTokenizer
from megatron_fugaku.errors import DataError


@dataclass(frozen=True)
class DataSources:
    """Where the tokens of a run lie: Megatron's ``data_path`` lists, and the tokenizer model, if there is one."""

    train: list[str]
    valid: list[str] | None
    tokenizer_model: Path | None


def locate_data(config: RunConfig) -> DataSources:
    """Resolve ``data.manifest`` or ``data.data_path``.

    Raises:
        DataError: the manifest cannot be read, or ``data.blend`` names a language that it does not have.
    """
    data = config.data
    if data.manifest is None:
        valid = data.valid_data_path
        return DataSources([str(item) for item in data.data_path or []],
                           [str(item) for item in valid] if valid else None, data.tokenizer_model)
    manifest = load_manifest(data.manifest)
    train, valid = manifest.data_path("train"), manifest.data_path("valid")
    if data.blend is not None:
        train, valid = (_weighted(blend, data.blend, data.manifest) for blend in (train, valid))
    return DataSources([str(item) for item in train], [str(item) for item in valid] or None,
                       data.tokenizer_model or manifest.tokenizer_path)


def _weighted(blend: list, weights: dict[str, float], where: Path) -> list:
    """Give the prefixes of a manifest's blend, named by language, the weights that the run asks for."""
    prefixes = {Path(prefix).name.removesuffix("_valid"): prefix for prefix in blend[1::2]}
    missing = sorted(set(weights) - set(prefixes))
    if missing:
        raise DataError(f"data.blend names {', '.join(missing)}, the manifest has {', '.join(sorted(prefixes))}",
                        "tokens of that language would silently be missing from training",
                        "add a source to the recipe or drop it from data.blend", str(where))
    return [item for language, weight in weights.items() for item in (weight, prefixes[language])]


def load_tokenizer(sources: DataSources) -> SentencePieceTokenizer:
    """Load the tokenizer of a run.

    Raises:
        DataError: there is none.
    """
    if sources.tokenizer_model is None:
        raise DataError("the run names no tokenizer", "documents end with its end-of-document token",
                        "give data.tokenizer_model or data.manifest", "data.tokenizer_model")
    return SentencePieceTokenizer(sources.tokenizer_model)


def check_token_files(data_path: list[str]) -> None:
    """Compare the size of every token file of a ``data_path`` with what its index says.

    Raises:
        DataError: an index cannot be read, or a .bin file is shorter than its documents.
    """
    prefixes, _ = get_blend_from_list(data_path)
    for prefix in prefixes:
        try:
            index = IndexedDataset(prefix).index
        except (OSError, ValueError, AssertionError) as error:
            raise DataError(f"{prefix}.idx cannot be read: {error}", "it says where the documents lie",
                            "write the tokens again with `mfugaku data RECIPE`", f"{prefix}.idx") from error
        expected = int(index.sequence_lengths.sum(dtype="int64")) * index.dtype_size
        found = Path(prefix + ".bin").stat().st_size
        if found != expected:
            raise DataError(f"{prefix}.bin has {found} bytes, its index describes {expected}",
                            "training would fail when it reads beyond the end", "write the tokens again with "
                            "`mfugaku data RECIPE`", f"{prefix}.bin")


def build_datasets(config: RunConfig, sources: DataSources, tokenizer: SentencePieceTokenizer,
                   is_built: bool) -> tuple[GPTDataset | None, GPTDataset | None]:
    """Build the training and validation datasets; a collective call, every rank makes it.

    Rank 0 builds the index files in the cache directory first, the others then map them.

    Args:
        config: the run.
        sources: from :func:`locate_data`.
        tokenizer: of the run.
        is_built: whether this rank reads data at all (the first and last pipeline stages do).

    Raises:
        DataError: the token files are damaged, or hold too little.

    Returns:
        (train, validation); a dataset item holds int64 ``tokens``, ``labels`` and ``position_ids`` [S] and fp32
        ``loss_mask`` [S]. None where this rank needs none, or no validation is asked for.
    """
    train_samples = config.num_steps * config.train.global_batch_size
    valid_samples = config.train.eval_iters * config.train.global_batch_size if config.train.eval_interval else 0
    blend = get_blend_from_list(sources.train)
    if sources.valid:
        blends = {"blend_per_split": [blend, get_blend_from_list(sources.valid) if valid_samples else None, None]}
    else:
        blends = {"blend": blend, "split": config.data.split}
    cache = config.data.data_cache_path or config.directory / "data_cache"
    dataset_config = GPTDatasetConfig(
        random_seed=config.train.seed,
        sequence_length=config.model.seq_length,
        path_to_cache=str(cache),
        tokenizer=tokenizer,
        reset_position_ids=config.data.reset_position_ids,
        reset_attention_mask=config.data.reset_attention_mask,
        eod_mask_loss=config.data.eod_mask_loss,
        create_attention_mask=config.data.reset_attention_mask,
        **blends,
    )
    builder = BlendedMegatronDatasetBuilder(GPTDataset, [train_samples, valid_samples, 0], lambda: is_built,
                                            dataset_config)
    if torch.distributed.get_rank() == 0:
        check_token_files(sources.train + (sources.valid or []))
    try:
        train, valid, _ = builder.build()
    except (AssertionError, ValueError, OSError) as error:
        raise DataError(f"megatron-core could not build the datasets of {sources.train}: {error}",
                        "there is nothing to train on", "check the token files with `mfugaku data`",
                        "data") from error
    torch.distributed.barrier()
    return train, valid if valid_samples else None
