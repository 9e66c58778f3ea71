"""torch's own suite for distributed backends, on ours."""

from __future__ import annotations

import json

import pytest
import torch_suite
from torch_suite import Outcome, check_suite, count, read_reports, render, run_suite


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nearly_all_cases_for_cpus_pass():
    check_suite(run_suite())


@pytest.mark.parametrize(("why", "excuse"), [
    ("Need at least 2 CUDA devices", "needs a GPU"),
    ("The mpi backend does not support DDP communication hook on CUDA devices", "needs a GPU"),
    ("Only Nccl supports reduce_scatter_v", "for NCCL or UCC alone"),
    ("NCCL Batch Send Recv Only", "for NCCL or UCC alone"),
    ("Test requires backend gloo to be one of {'nccl'}", "for NCCL or UCC alone"),
    ("Test requires backend mpi to be one of {'gloo', 'nccl'}", ""),
    ("https://github.com/pytorch/pytorch/issues/77317", "switched off by torch"),
    ("no torchvision", "needs a package"),
    ("Skipped due to small world size.", ""),
])
def test_reasons_that_make_a_case_inapplicable(why, excuse):
    assert Outcome("skipped", why).excuse == excuse
    assert Outcome("failed", why).excuse == "" and Outcome("passed").excuse == ""


def test_what_is_skipped_without_an_excuse_counts_against_the_backend():
    outcomes = {"a": Outcome("passed"), "b": Outcome("skipped", "for some reason"), "c": Outcome("failed", "wrong"),
                "d": Outcome("skipped", "CUDA is not available.")}
    assert count(outcomes) == (3, 1)
    assert render(outcomes).splitlines() == [
        "4 cases, 3 applicable, 1 passed (33.3%)", "     1 not applicable: needs a GPU", "b skipped: for some reason",
        "c failed: wrong"]


def write_report(folder, rank: int, *entries: tuple[str, str]) -> None:
    lines = [json.dumps({"case": case, "how": how, "why": "", "seconds": 0.5}) for case, how in entries]
    (folder / f"rank_{rank}.jsonl").write_text("\n".join(lines) + "\n")


def test_a_case_passes_only_where_every_rank_says_so(tmp_path):
    write_report(tmp_path, 0, ("a", "started"), ("a", "passed"), ("b", "started"), ("b", "passed"), ("c", "skipped"))
    write_report(tmp_path, 1, ("a", "started"), ("a", "passed"), ("b", "started"), ("c", "skipped"))
    found = read_reports(tmp_path)
    assert {case: outcome.how for case, outcome in found.items()} == {"a": "passed", "b": "failed", "c": "skipped"}
    assert found["a"].seconds == 0.5 and "rank_1: started" in found["b"].why


def test_after_a_failure_the_other_cases_run_in_another_job(monkeypatch):
    jobs = []

    def run_job(mpirun, mask, cases, folder):
        jobs.append(cases)
        if cases is None:
            return {"a": Outcome("passed"), "b": Outcome("failed", "x")}, ["a", "b", "c"]
        return {case: Outcome("passed") for case in cases}, cases

    monkeypatch.setattr(torch_suite, "run_job", run_job)
    assert [outcome.how for outcome in torch_suite.run_cases("mpirun", "mpi").values()] == [
        "passed", "failed", "passed"]
    assert jobs == [None, ["c"]]


def test_what_is_skipped_because_of_the_name_is_tried_under_the_other_name(monkeypatch):
    def run_cases(mpirun, mask, cases=None):
        if mask == "mpi":
            return {"a": Outcome("skipped", "Only gloo backend supports timeouts"), "b": Outcome("passed")}
        assert cases == ["a"]
        return {"a": Outcome("passed")}

    monkeypatch.setattr(torch_suite, "run_cases", run_cases)
    assert run_suite() == {"a": Outcome("passed"), "b": Outcome("passed")}
    assert run_suite(only="^b") == {"b": Outcome("passed")}
