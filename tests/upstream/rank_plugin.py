"""A pytest plugin for ranks of one job that run the same tests: they go on together, or not at all.

Loaded by ``run_upstream.py`` with ``-p rank_plugin``. Every rank writes each phase of a test to a file of its own as it
ends, in pytest's own JSON, so that a crash loses nothing. After each test the ranks compare how it ended. Where one
failed that passed elsewhere, or a collective was given up, nobody knows who waits for whom: the job ends, and the
caller starts another one with the tests that are left.
"""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from reports import GIVEN_UP

from megatron_fugaku.comm.rank_info import rank_info

#: The folder of the job: done.json names the tests that need not run any more.
FOLDER = "UPSTREAM_TESTS_FOLDER"
#: Marks by which upstream leaves out what asks for a GPU at all. Here such tests run, to show whether they need one.
_GATE = re.compile(r"CUDA (is )?(not available|required)|requires? (CUDA|(a )?GPU)$", re.IGNORECASE)
_PASSED, _SKIPPED, _FAILED, _LOST = range(4)


def folder() -> Path:
    """The folder of the job."""
    return Path(os.environ[FOLDER])


def rank() -> int:
    """This rank."""
    return rank_info().rank


def agree(value: int) -> list[int]:
    """Return the values of all ranks, when all have come here. By files, since it may take as long as any test, and
    ranks that have nothing to do shall leave the cores to the others."""
    size = rank_info().world_size
    if size == 1:
        return [value]
    with (folder() / f"values_{rank()}").open("a+") as mine:
        mine.write(f"{value}\n")
        mine.seek(0)
        index = len(mine.readlines()) - 1
    values: list[int] = []
    while len(values) < size:
        theirs = folder() / f"values_{len(values)}"
        lines = theirs.read_text().splitlines(keepends=True) if theirs.exists() else []
        if len(lines) > index and lines[index].endswith("\n"):
            values.append(int(lines[index]))
        else:
            time.sleep(0.01)
    return values


class _Reporter:
    """Writes reports, and keeps how the test that runs went so far on this rank."""

    code = _PASSED

    def __init__(self, config: pytest.Config):
        self._config = config
        self._file = (folder() / f"rank_{rank()}.jsonl").open("w", buffering=1)

    def _write(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._file.write(json.dumps({**data, "sections": []}, default=repr) + "\n")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep why a file cannot be collected."""
        if not report.passed:
            self._write(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a phase, and the worst outcome of the test's phases."""
        self._write(report)
        code = _FAILED if report.failed else _SKIPPED if report.skipped else _PASSED
        if code == _FAILED and any(word in report.longreprtext for word in GIVEN_UP):
            code = _LOST
        self.code = max(self.code, code)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Compare the outcomes of the ranks."""
        self.code = _PASSED
        result = yield
        codes = agree(self.code)
        if len(codes) > 1 and (_LOST in codes or (_FAILED in codes and _PASSED in codes)):
            item.session.shouldstop = f"{item.nodeid} ended differently on the ranks"
            (folder() / "stopped").touch()
        return result


def pytest_configure(config: pytest.Config) -> None:
    """Begin to report."""
    config.pluginmanager.register(_Reporter(config))


def _is_closed_gate(mark: pytest.Mark) -> bool:
    return mark.name == "skipif" and _GATE.search(str(mark.kwargs.get("reason", ""))) is not None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is done, and open the gates."""
    for item in items:
        for node in item.listchain():
            node.own_markers[:] = [mark for mark in node.own_markers if not _is_closed_gate(mark)]
    done = set(json.loads((folder() / "done.json").read_text()))
    left = [item for item in items if item.nodeid not in done]
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
    items[:] = left


def pytest_collection_finish(session: pytest.Session) -> None:
    """Say which tests are to run. Refuse ranks that found different ones."""
    names = [item.nodeid for item in session.items]
    if len(set(agree(zlib.crc32("\n".join(names).encode())))) > 1:
        pytest.exit("the ranks found different tests", 3)
    if rank() == 0:
        (folder() / "collected.json").write_text(json.dumps(names))
