"""Other releases of megatron-core and DeepSpeed than the installed ones train alike, with patches that know them.

``pip`` fetches each into build/versions, beside what is installed and before it on the path of the ranks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mpi_helpers import run_mpi
from small_run import read_losses, small_config, write_config
from upstream_scripts import checkout

from megatron_fugaku.patches.upstreams import upstreams_at

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(600)]
FOLDER = Path(__file__).resolve().parents[2] / "build" / "versions"
MEGATRON_CORE, DEEPSPEED = ("0.14.0", "0.15.3"), ("0.18.9",)
#: fp32 sums in another order; see test_layouts.py.
TOLERANCE = 1e-5
TP2 = "parallel.tensor_model_parallel_size=2"
PP2 = "parallel.pipeline_model_parallel_size=2"


def fetch(distribution: str, version: str) -> Path:
    """Return the folder of a release, installed there without what it depends on."""
    target = FOLDER / f"{distribution}-{version}"
    if not target.is_dir():
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", partial,
                               f"{distribution}=={version}"], capture_output=True, text=True, timeout=300,
                              env={**os.environ, "DS_BUILD_OPS": "0"})
        assert done.returncode == 0, done.stderr[-2000:]
        if not target.is_dir():
            partial.rename(target)
    return target


@pytest.fixture(scope="module")
def config(small_manifest, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    return write_config(folder / "run.yaml", small_config(small_manifest, folder / "run"))


def pretrain(config: Path, release: Path | None, run: Path, num_ranks: int, *overrides: str):
    path = {} if release is None else {"PYTHONPATH": os.pathsep.join(filter(None, (
        str(release), os.environ.get("PYTHONPATH"))))}
    return run_mpi(["-W", "ignore", "-m", "megatron_fugaku", "pretrain", config, f"run_dir={run}", *overrides],
                   num_ranks, timeout_s=180, env={"MFUGAKU_STRICT_PATCHES": "1", **path})


def train(*args, **options) -> None:
    done = pretrain(*args, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def expected(config) -> dict[int, float]:
    """The losses of one rank with what is installed."""
    run = config.parent / "installed"
    train(config, None, run, 1)
    return read_losses(run)


def assert_version(run: Path, distribution: str, version: str) -> None:
    assert f'"{distribution}": "{version}"' in (run / "manifest.json").read_text(encoding="utf-8")


def assert_trains_alike(release: Path, config: Path, expected: dict[int, float], folder: Path) -> None:
    """Tensor and pipeline parallel, interrupted and resumed."""
    train(config, release, folder, 4, TP2, PP2, "train.exit_interval=10")
    train(config, release, folder, 4, TP2, PP2)
    assert read_losses(folder) == {step: pytest.approx(loss, rel=TOLERANCE) for step, loss in expected.items()}


@pytest.mark.parametrize("version", MEGATRON_CORE)
def test_megatron_core(version, config, expected, tmp_path):
    """And the distributed optimizer, where it can be saved."""
    release = fetch("megatron-core", version)
    assert_trains_alike(release, config, expected, tmp_path / "run")
    assert_version(tmp_path / "run", "megatron-core", version)
    done = pretrain(config, release, tmp_path / "sharded", 2, "parallel.use_distributed_optimizer=true")
    if version == "0.14.0":
        assert done.returncode != 0 and "cannot write the distributed optimizer's state" in done.stderr
        return
    assert done.returncode == 0, done.stderr[-4000:]
    assert read_losses(tmp_path / "sharded") == {step: pytest.approx(loss, rel=TOLERANCE)
                                                 for step, loss in expected.items()}


def test_a_checkout_of_megatron_lm(config, expected, tmp_path):
    """Its megatron-core, which may be newer than any release of the index."""
    home = checkout("MEGATRON_LM_HOME")
    assert_trains_alike(home, config, expected, tmp_path / "run")
    assert_version(tmp_path / "run", "megatron-core", upstreams_at(home)["megatron-core"])


@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("version", DEEPSPEED)
def test_deepspeed(version, stage, config, expected, tmp_path):
    pytest.importorskip("deepspeed")
    train(config, fetch("deepspeed", version), tmp_path / "run", 2, "engine=deepspeed",
          f"deepspeed.zero_stage={stage}")
    assert_version(tmp_path / "run", "deepspeed", version)
    assert read_losses(tmp_path / "run") == {step: pytest.approx(loss, rel=TOLERANCE)
                                             for step, loss in expected.items()}
