"""All patches applied to the installed packages, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from megatron_fugaku.patches import TRAINING_PATCHES

PATCHES = [patch for patch in TRAINING_PATCHES if patch.is_applicable()]
WORKER = Path(__file__).parent / "workers" / "applied.py"


@pytest.fixture(scope="module")
def seen() -> dict:
    environ = {**os.environ, "MFUGAKU_STRICT_PATCHES": "1"}
    done = subprocess.run([sys.executable, str(WORKER)], capture_output=True, text=True, env=environ, timeout=200)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_all_apply_in_strict_mode_and_once(seen):
    assert seen["warnings"] == []
    assert seen["idempotent"]
    assert [entry["id"] for entry in seen["ledger"]] == [patch.id for patch in PATCHES]
    for entry, patch in zip(seen["ledger"], PATCHES, strict=True):
        assert not entry["drifted"]
        assert entry["digest"] == patch.source[entry["version"]]
    assert seen["wrong"] == {}
    assert set(seen["statuses"]) == {"fits"}


def test_torch_changes_in_the_declared_names_alone(seen):
    declared = {patch.target for patch in PATCHES if patch.distribution == "torch"}
    rebound = {name for entry in seen["ledger"] for name in entry["rebound"]
               if name.partition(":")[0] in ("torch", "torch.cuda", "torch.cuda.random", "torch.random")}
    assert set(seen["changed"]) == declared | rebound
    assert all(name.startswith("torch.cuda") for name in seen["changed"])
    assert seen["added"] == []
    assert not seen["is_available"]


def test_the_device_is_the_cpu(seen):
    assert seen["current_device"] == "cpu"
    assert seen["synchronize"] is None


def test_the_causal_mask_is_upstreams_and_made_once(seen):
    assert seen["mask"] == [[False, True, True], [False, False, True], [False, False, False]]
    assert seen["mask_is_kept"]
    assert seen["mask_is_rebound"] == []


def test_random_states_are_named_streams(seen):
    """What upstream documents: a fork draws from its named state and leaves the current one where it was."""
    drawn, order = seen["random"], ("first", "second", "third", "fourth", "fifth", "sixth")
    for name, seed in (("default", 1), ("model", 11), ("other", 12)):
        generator = torch.Generator().manual_seed(seed)
        for place in order[: {"default": 4, "model": 6, "other": 4}[name]]:
            expected = torch.rand(3, generator=generator).tolist()
            assert drawn[f"{name} {place}"] == expected, f"{name} {place}"
    assert drawn["model sixth again"] == drawn["model sixth"]


def test_wrong_names_and_seeds_of_random_states_are_errors(seen):
    assert "no such is not added" in seen["random"]["unknown"]
    assert "11 already exists" in seen["random"]["same seed"]
    assert "other already exists" in seen["random"]["same name"]
