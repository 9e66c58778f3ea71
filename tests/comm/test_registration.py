"""Translation of the name "mpi", and the backend's timeout."""

from __future__ import annotations

import datetime

import pytest

from megatron_fugaku.comm import registration


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
    assert registration._translated(given) == expected
    assert registration._is_ours(expected) == ("mfugaku" in (expected or ""))


def test_the_environment_can_only_shorten_a_timeout(monkeypatch):
    assert registration._timeout_s(datetime.timedelta(hours=1)) == 3600
    monkeypatch.setenv("MFUGAKU_COMM_TIMEOUT_S", "20")
    assert registration._timeout_s(datetime.timedelta(hours=1)) == 20
    assert registration._timeout_s(datetime.timedelta(seconds=5)) == 5
