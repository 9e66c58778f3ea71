"""Initial weights do not depend on how the model is cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from megatron.core.transformer.transformer_layer import TransformerLayer

from megatron_fugaku.config import ModelConfig
from megatron_fugaku.model import initialize

MODEL = ModelConfig(num_layers=4, hidden_size=8, num_attention_heads=2, seq_length=4)


class Layer(TransformerLayer):
    """A layer of a given number with some weights, cut over ``tp`` ranks as megatron-core's linear layers mark it."""

    def __init__(self, number: int, tp: int = 1):
        torch.nn.Module.__init__(self)
        self.layer_number = number
        for name, shape, dim, stride in (("linear_qkv", (24, 8), 0, 1), ("linear_fc1", (64, 8), 0, 2),
                                         ("linear_fc2", (8, 32), 1, 1), ("linear_proj", (8, 8), 1, 1)):
            shape = [size // tp if axis == dim else size for axis, size in enumerate(shape)]
            module = torch.nn.Module()
            module.weight = torch.nn.Parameter(torch.empty(shape))
            module.weight.tensor_model_parallel, module.weight.partition_dim = tp > 1, dim
            module.weight.partition_stride = stride
            setattr(self, name, module)
        self.input_layernorm = torch.nn.LayerNorm(8)


class Chunk(torch.nn.Module):
    """Layers of a stage; ``share_embeddings_and_output_weights`` as megatron-core's models have it."""

    def __init__(self, first_layer: int, num_layers: int, tp: int = 1, tied: bool = True):
        super().__init__()
        self.share_embeddings_and_output_weights = tied
        self.decoder = torch.nn.Module()
        self.decoder.layers = torch.nn.ModuleList(Layer(first_layer + i + 1, tp) for i in range(num_layers))
        self.output_layer = torch.nn.Linear(8, 16, bias=False)


@pytest.fixture
def place(monkeypatch):
    """Pretend to be a tensor-parallel rank."""
    def set_place(rank: int, size: int) -> None:
        monkeypatch.setattr(initialize.parallel_state, "get_tensor_model_parallel_rank", lambda: rank)
        monkeypatch.setattr(initialize.parallel_state, "get_tensor_model_parallel_world_size", lambda: size)

    set_place(0, 1)
    return set_place


def weights_of(chunk: Chunk, seed: int = 1) -> dict[str, torch.Tensor]:
    initialize.initialize_parameters(chunk, MODEL, seed)
    return {name: parameter.detach() for name, parameter in initialize.global_names(chunk)}


def test_names_count_layers_through_the_whole_model():
    names = [name for name, _ in initialize.global_names(Chunk(10, 2))]
    assert {name.split(".")[2] for name in names if name.startswith("decoder")} == {"10", "11"}
    assert "embedding.word_embeddings.weight" in names
    assert "output_layer.weight" in [name for name, _ in initialize.global_names(Chunk(0, 1, tied=False))]


def test_pipeline_stages_hold_parts_of_one_model(place):
    whole = weights_of(Chunk(0, 4))
    for first in (0, 2):
        for name, weight in weights_of(Chunk(first, 2)).items():
            assert torch.equal(weight, whole[name]), name
    assert not torch.equal(whole["decoder.layers.0.linear_qkv.weight"], whole["decoder.layers.1.linear_qkv.weight"])


@pytest.mark.parametrize("tp", [2, 4])
def test_tensor_parallel_ranks_hold_parts_of_one_model(place, tp):
    whole = weights_of(Chunk(0, 1))
    parts = []
    for rank in range(tp):
        place(rank, tp)
        parts.append(weights_of(Chunk(0, 1, tp)))
    prefix = "decoder.layers.0."
    for name, dim in (("linear_qkv", 0), ("linear_fc2", 1), ("linear_proj", 1)):
        joined = torch.cat([part[f"{prefix}{name}.weight"] for part in parts], dim)
        assert torch.equal(joined, whole[f"{prefix}{name}.weight"]), name
    # Gate and up projection are cut one by one: a rank holds its rows of both.
    for half in (0, 1):
        joined = torch.cat([part[f"{prefix}linear_fc1.weight"].chunk(2)[half] for part in parts])
        assert torch.equal(joined, whole[f"{prefix}linear_fc1.weight"].chunk(2)[half])
    assert all(torch.equal(part["embedding.word_embeddings.weight"], whole["embedding.word_embeddings.weight"])
               for part in parts)


def test_another_padding_of_the_vocabulary_keeps_the_rows():
    name = "embedding.word_embeddings.weight"
    small, large = (initialize._draw(name, [rows, 24], 0.02, 1) for rows in (512, 768))
    assert torch.equal(small, large[:512])


@given(st.integers(0, 2**63), st.text(max_size=40), st.text(max_size=40))
def test_every_name_has_a_stream_of_its_own(seed, name, other):
    first = initialize._draw(name, [17], 1.0, seed)
    assert torch.equal(first, initialize._draw(name, [17], 1.0, seed))
    assert torch.equal(first, initialize._draw(other, [17], 1.0, seed)) == (name == other)
    assert not torch.equal(first, initialize._draw(name, [17], 1.0, seed + 1))


def test_the_global_generator_stays_where_it_was(place):
    chunk = Chunk(0, 1)
    before = torch.get_rng_state()
    weights_of(chunk)
    assert torch.equal(torch.get_rng_state(), before)
