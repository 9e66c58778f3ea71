"""The quickstart as a user runs it, shortened, and its siblings on the data that it makes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from mpi_helpers import mpi_environment
from small_run import read_losses

ROOT = Path(__file__).parents[2]
OVERRIDES = ["train.train_iters=30", "checkpoint.save_interval=12", "train.eval_interval=15", "train.log_interval=10",
             "optimizer.lr_warmup_tokens=40960", "logging.timeline_iterations=[5]"]

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(900)]


def run(command: list[str], **variables: str) -> str:
    """Run a command in the repository; return what it printed."""
    done = subprocess.run(command, cwd=ROOT, env=mpi_environment(variables), capture_output=True, text=True,
                          timeout=880)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> tuple[Path, str]:
    """(run folder, what run.sh printed)."""
    folder = tmp_path_factory.mktemp("quickstart") / "run"
    printed = run(["examples/quickstart/run.sh"], QUICKSTART_RUN_DIR=str(folder),
                  QUICKSTART_OVERRIDES=" ".join(OVERRIDES))
    return folder, printed


def launch(config: str, *overrides: str) -> None:
    run([str(ROOT / ".venv/bin/mfugaku"), "launch", "local", config, *overrides])


def test_the_killed_run_goes_on_exactly_and_the_loss_falls(quickstart):
    folder, printed = quickstart
    assert "rank 3 was killed by signal 9" in printed or "kill -9 of rank 3" in printed
    assert re.search(r"of the steps 13 to 1\d, trained before .* bit for bit", printed)
    losses = read_losses(folder)
    assert sorted(losses) == list(range(1, 31))
    assert 8.8 < losses[1] < 9.3  # ln 8192 is 9.01
    assert losses[30] < 7.2
    assert read_losses(folder, "validation")[30] < 7.2


def test_the_run_folder_is_complete(quickstart):
    folder, printed = quickstart
    for name in ("config.yaml", "manifest.json", "metrics.jsonl", "samples.jsonl", "report.html", "trace.json"):
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "tensorboard").glob("events.*"))
    assert len(list((folder / "timeline").glob("rank*.jsonl"))) == 4
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(samples) == 4
    assert all(sample["text"] and f"> {sample['prompt']}" in printed for sample in samples)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 4
    assert "bit for bit" in page
    assert not re.search(r"""(src|href)=["']https?://""", page)


def test_the_corpus_is_mostly_japanese_and_says_what_is_missing(quickstart):
    manifest = json.loads((quickstart[0] / "data" / "manifest.json").read_text(encoding="utf-8"))
    if manifest["missing"]:
        pytest.skip(f"not to be had here: {', '.join(manifest['missing'])}")
    assert 0.55 < manifest["languages"]["ja"]["share"] < 0.65
    assert {"ja", "en", "code", "math"} == set(manifest["languages"])


def test_eight_ranks_train_the_same(quickstart, tmp_path):
    folder, _ = quickstart
    launch("examples/quickstart/pretrain_dp2.yaml", f"run_dir={tmp_path}/run", *OVERRIDES, "train.exit_interval=4",
           f"data.manifest={folder}/data/manifest.json")
    losses, reference = read_losses(tmp_path / "run"), read_losses(folder)
    assert losses == {step: pytest.approx(reference[step], rel=1e-5) for step in range(1, 5)}


def test_the_13b_file_trains_at_toy_scale(quickstart, tmp_path):
    folder, _ = quickstart
    launch("examples/fugaku_13b/fugaku_13b.yaml", "scale=toy", f"run_dir={tmp_path}/run", "train.exit_interval=3",
           f"data.manifest={folder}/data/manifest.json")
    losses = read_losses(tmp_path / "run")
    assert sorted(losses) == [1, 2, 3]
    assert losses[3] < losses[1]
    assert os.path.exists(tmp_path / "run" / "checkpoints" / "iter_0000003")
