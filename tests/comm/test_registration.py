"""Translation of the name "mpi", and the backend's timeout."""

from __future__ import annotations

import datetime

import pytest

from megatron_fugaku.comm import names, registration
from megatron_fugaku.errors import CommError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("mpi", "mfugaku"),
        ("MPI", "mfugaku"),
        ("gloo", "gloo"),
        ("cpu:mpi,cuda:nccl", "cpu:mfugaku,cuda:nccl"),
        ("mfugaku", "mfugaku"),
    ],
)
def test_only_the_name_mpi_is_translated(given, expected):
    assert names.translated(given) == expected
    assert registration._is_ours(expected) == ("mfugaku" in (expected or ""))
    assert names.default_backend() is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nccl", "mfugaku"),
        ("NCCL", "mfugaku"),
        ("gloo", "mfugaku"),
        ("mpi", "mfugaku"),
        ("cpu:gloo,cuda:nccl", "cpu:mfugaku"),
        ("cuda:nccl", "mfugaku"),
        ("cuda:nccl,cpu:gloo", "cpu:mfugaku"),
        ("ucc", "ucc"),
        ("cpu:gloo,xpu:ccl", "cpu:mfugaku,xpu:ccl"),
        (None, None),
    ],
)
def test_other_names_are_translated_where_that_is_wanted(given, expected, monkeypatch):
    monkeypatch.setattr(names, "_answered", {"mpi"})
    names.answer_to("nccl", "gloo")
    assert names.translated(given) == expected
    assert names.default_backend() == "mfugaku"
    assert not names.is_answered(None)
    assert names.is_answered("Nccl")
    assert [names.called(name) for name in ("mpi", "NCCL", "Gloo")] == ["mpi", "mpi", "gloo"]


def test_the_environment_can_only_shorten_a_timeout(monkeypatch):
    assert registration._timeout_s(datetime.timedelta(hours=1)) == 3600
    monkeypatch.setenv("MFUGAKU_COMM_TIMEOUT_S", "20")
    assert registration._timeout_s(datetime.timedelta(hours=1)) == 20
    assert registration._timeout_s(datetime.timedelta(seconds=5)) == 5


class LonelyMpi:
    """An extension whose MPI does not see the other processes."""

    def is_ready(self):
        return False

    def stop_thread(self):
        pass

    def build_facts(self):
        return {"mpi_vendor": "Open MPI", "mpi_version": "4.1.4"}

    def initialize(self, **_):
        return 0, 1

    def broadcast_text(self, text, _root):
        return text

    def set_algorithms(self, *_):
        pass

    def poke_address(self):
        return 0


@pytest.fixture
def lonely_mpi(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registration, "load_extension", LonelyMpi)
    monkeypatch.setattr(registration.atexit, "register", lambda function: None)


@pytest.mark.parametrize(("rank", "has_pmix", "is_warned"), [("0", False, True), ("1", False, False),
                                                              ("0", True, False)])
def test_ranks_that_mpi_does_not_see_are_an_error(lonely_mpi, monkeypatch, capsys, rank, has_pmix, is_warned):
    monkeypatch.setenv("SLURM_PROCID", rank)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    if has_pmix:
        monkeypatch.setenv("PMIX_RANK", rank)
    with pytest.raises(CommError, match=r"launcher \(slurm\) started 4 processes, but Open MPI 4\.1\.4 sees 1\."):
        registration._start_mpi()
    assert ("use `srun --mpi=pmix`" in capsys.readouterr().err) == is_warned


def test_a_process_without_launcher_is_alone(lonely_mpi, monkeypatch, capsys):
    for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert registration._start_mpi() == (0, 1)
    assert capsys.readouterr().err == ""
