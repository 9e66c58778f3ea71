"""The word embedding of a model: megatron-core's own, whatever ranks share the vocabulary."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from megatron.core.model_parallel_config import ModelParallelConfig
from megatron.core.tensor_parallel import VocabParallelEmbedding

from megatron_fugaku.kernels.extension import load_operators
from megatron_fugaku.model import embedding as module
from megatron_fugaku.model.embedding import WordEmbedding, replace_word_embedding


class Ranks:
    """A tensor-parallel group as far as an embedding asks."""

    def __init__(self, num_ranks: int = 1, which: int = 0):
        self.num_ranks, self.which = num_ranks, which

    def size(self) -> int:
        return self.num_ranks

    def rank(self) -> int:
        return self.which


def build(ranks: Ranks) -> VocabParallelEmbedding:
    config = ModelParallelConfig(use_cpu_initialization=True, perform_initialization=False)
    layer = VocabParallelEmbedding(60, 8, init_method=torch.nn.init.normal_, config=config, tp_group=ranks)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
                           [layer.vocab_start_index:layer.vocab_end_index])
    return layer


@pytest.fixture(autouse=True)
def built(process_group):
    if load_operators() is None:
        pytest.skip("the extension of the kernels was not built")


def replaced(ranks: Ranks) -> VocabParallelEmbedding:
    layer = build(ranks)
    replace_word_embedding(SimpleNamespace(pre_process=True, embedding=SimpleNamespace(word_embeddings=layer)))
    assert type(layer) is WordEmbedding
    return layer


def test_it_is_megatrons():
    tokens, upstream = torch.randint(0, 60, (2, 30)), torch.randn(2, 30, 8)
    results = []
    for layer in (replaced(Ranks()), build(Ranks())):
        out = layer(tokens)
        out.backward(upstream)
        results.append((out, layer.weight.grad))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-6, atol=1e-6)


def test_parts_of_several_ranks_add_up(monkeypatch):
    monkeypatch.setattr(module, "reduce_from_tensor_model_parallel_region", lambda x, group: x)
    tokens = torch.randint(0, 60, (2, 30))
    parts = [replaced(Ranks(3, rank))(tokens) for rank in range(3)]
    assert torch.equal(sum(parts), build(Ranks())(tokens))


def test_stages_without_an_embedding_and_machines_without_operators_keep_what_they_have(monkeypatch):
    replace_word_embedding(SimpleNamespace(pre_process=False))
    monkeypatch.setattr(module, "load_operators", lambda: None)
    layer = build(Ranks())
    replace_word_embedding(SimpleNamespace(pre_process=True, embedding=SimpleNamespace(word_embeddings=layer)))
    assert type(layer) is VocabParallelEmbedding
