"""The checkpoint directory, without any model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from megatron_fugaku.checkpoint.store import FILE_SIZES, TRACKER, CheckpointStore
from megatron_fugaku.errors import CheckpointError


def write(store: CheckpointStore, iteration: int, content: bytes = b"weights", keep_last: int | None = None) -> Path:
    partial = store.begin(iteration)
    (partial / "__0_0.distcp").write_bytes(content)
    (partial / "common.pt").write_bytes(b"common")
    return store.commit(iteration, keep_last)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def test_nothing_was_saved(store):
    assert store.latest() is None
    assert store.iterations() == []


def test_a_committed_checkpoint_is_the_latest_and_whole(store):
    path = write(store, 100)
    assert path.name == "iter_0000100"
    assert store.latest() == 100
    assert store.check(100) == path
    assert json.loads((path / FILE_SIZES).read_text()) == {"__0_0.distcp": 7, "common.pt": 6}
    assert [p.name for p in store.directory.iterdir() if p.name.startswith(".")] == []


def test_what_a_crash_while_writing_leaves_is_not_seen_and_is_cleared(store):
    write(store, 1)
    (store.begin(2) / "half").write_bytes(b"x")  # the crash
    assert store.latest() == 1
    assert store.iterations() == [1]
    write(store, 2)
    assert store.latest() == 2
    assert not list(store.directory.glob(".iter_*"))


def test_a_crash_between_rename_and_tracker_leaves_the_older_one_current(store, monkeypatch):
    write(store, 1)
    real_replace = shutil.os.replace

    def crash_at_tracker(source, target):
        if Path(target).name == TRACKER:
            raise KeyboardInterrupt
        real_replace(source, target)

    monkeypatch.setattr("os.replace", crash_at_tracker)
    with pytest.raises(KeyboardInterrupt):
        write(store, 2)
    monkeypatch.undo()
    assert store.latest() == 1
    assert store.check(1)
    write(store, 2)  # the resumed run saves the step again
    assert store.latest() == 2
    assert store.check(2)


def test_a_crash_before_the_first_tracker_does_not_lose_the_checkpoint(store):
    write(store, 5)
    (store.directory / TRACKER).unlink()
    assert store.latest() == 5


def test_saving_a_step_again_replaces_it(store):
    write(store, 3, b"old")
    path = write(store, 3, b"new and longer")
    assert (path / "__0_0.distcp").read_bytes() == b"new and longer"
    assert store.check(3)
    assert store.iterations() == [3]


@pytest.mark.parametrize(("keep_last", "kept"), [(None, [1, 2, 3, 4]), (1, [4]), (2, [3, 4]), (9, [1, 2, 3, 4])])
def test_retention(store, keep_last, kept):
    for iteration in (1, 2, 3, 4):
        write(store, iteration, keep_last=keep_last)
    assert store.iterations() == kept


def test_retention_never_removes_later_steps_of_an_abandoned_attempt(store):
    for iteration in (1, 2, 9):
        write(store, iteration)
    write(store, 3, keep_last=1)
    assert store.iterations() == [3, 9]
    assert store.latest() == 3


@pytest.mark.parametrize(("damage", "message"), [
    (lambda path: (path / "__0_0.distcp").write_bytes(b"wei"), "has 3 bytes, 7 bytes were written"),
    (lambda path: (path / "common.pt").unlink(), "is missing, 6 bytes were written"),
    (lambda path: (path / FILE_SIZES).write_text("{"), "cannot be read"),
    (lambda path: (path / FILE_SIZES).unlink(), "cannot be read"),
])
def test_damage_is_named(store, damage, message):
    damage(write(store, 7))
    with pytest.raises(CheckpointError, match=message):
        store.check(7)


@pytest.mark.parametrize("text", ["", "seven", "8"])
def test_a_tracker_without_its_checkpoint_is_an_error_not_a_fresh_start(store, text):
    write(store, 7)
    (store.directory / TRACKER).write_text(text)
    with pytest.raises(CheckpointError, match="complete checkpoints are: 7"):
        store.latest()


def test_a_missing_step_names_those_that_exist(store):
    write(store, 7)
    with pytest.raises(CheckpointError, match="complete checkpoints there: 7"):
        store.check(8)


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be made"):
        CheckpointStore(tmp_path / "file" / "checkpoints").begin(1)
