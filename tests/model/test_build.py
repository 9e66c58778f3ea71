"""The models that are built: equal to plain torch ones in loss and gradients, and initialised as declared."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from mpi_helpers import run_mpi
from small_run import small_config, write_config

pytestmark = pytest.mark.mpi
WORKER = Path(__file__).parent / "workers" / "compare.py"
COMMON = {"num_layers": 3, "hidden_size": 48, "num_attention_heads": 4, "seq_length": 24, "init_method_std": 0.03}
MODELS = {
    "gpt": {},
    "llama": {"style": "llama", "num_query_groups": 2},
    "mixed": {"style": "llama", "num_query_groups": 1, "kv_channels": 20, "rotary_percent": 0.5, "rotary_base": 500_000,
              "add_qkv_bias": True, "untie_embeddings_and_output_weights": False, "ffn_hidden_size": 100,
              "layernorm_epsilon": 1e-3},
    "narrow": {"normalization": "RMSNorm", "swiglu": True, "untie_embeddings_and_output_weights": True,
               "max_position_embeddings": 40},
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("models")
    paths = [write_config(folder / f"{name}.yaml",
                          small_config(folder / "none", folder / name, model={**COMMON, **changes}))
             for name, changes in MODELS.items()]
    done = run_mpi([WORKER, *paths], 1)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_plain_torch(seen, name):
    model = seen[name]
    assert model["loss"] == pytest.approx(model["expected_loss"], rel=1e-6)
    assert len(model["gradient_errors"]) > 20
    assert {part: error for part, error in model["gradient_errors"].items() if error > 1e-4} == {}


@pytest.mark.parametrize("name", MODELS)
def test_all_dropout_is_ours(seen, name):
    assert seen[name]["dropouts"] == ["megatron_fugaku.model.dropout"]


@pytest.mark.parametrize("name", MODELS)
def test_initial_weights_have_the_declared_spread(seen, name):
    std = COMMON["init_method_std"]
    for part, (mean, root_mean_square, count) in seen[name]["moments"].items():
        if part.endswith("bias"):
            assert root_mean_square == 0.0, part
        elif "layernorm" in part:
            assert (mean, root_mean_square) == (1.0, 1.0), part
        else:
            writes_to_residual = part.endswith(("linear_proj.weight", "linear_fc2.weight"))
            expected = std / math.sqrt(2 * COMMON["num_layers"]) if writes_to_residual else std
            # Five standard errors of a normal sample.
            assert abs(mean) < 5 * expected / math.sqrt(count), part
            assert root_mean_square == pytest.approx(expected, rel=5 / math.sqrt(2 * count)), part


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides_the_weights(seen, name):
    model = seen[name]
    assert model["same"]
    constant = {part for part in model["moments"] if part.endswith("bias") or "layernorm" in part}
    assert set(model["differing"]) == set(model["moments"]) - constant


def test_which_weights_there_are(seen):
    def has(name: str, part: str) -> bool:
        return any(key.endswith(part) for key in seen[name]["moments"])

    table = {part: [name for name in MODELS if has(name, part)] for part in (
        "position_embeddings.weight", "output_layer.weight", "linear_qkv.bias", "linear_fc1.bias", "layernorm.bias")}
    assert table == {"position_embeddings.weight": ["gpt", "narrow"], "output_layer.weight": ["llama", "narrow"],
                     "linear_qkv.bias": ["gpt", "mixed", "narrow"], "linear_fc1.bias": ["gpt", "narrow"],
                     "layernorm.bias": ["gpt"]}


def test_the_vocabulary_is_padded(seen):
    assert {(model["padded"], model["rows"]) for model in seen.values()} == {(512, 512)}
