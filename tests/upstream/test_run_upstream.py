"""Files of tests that pass, fail on one rank, hang, crash or cannot be imported, run on real ranks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from upstream.reports import Report
from upstream.run_upstream import Job, Limits, find_folders

FILES = {
    "whole/test_a.py": """
        import os, time, pytest, torch
        import torch.distributed as dist

        rank = int(os.environ["RANK"])

        def test_sum():
            dist.init_process_group("nccl")
            total = torch.ones(1)
            dist.all_reduce(total)
            assert total.item() == 2

        def test_fails_on_rank_1():
            assert rank == 0, "wrong here"
            dist.barrier()

        def test_is_reached_in_another_job():
            assert not dist.is_initialized()

        def test_ends_its_process():
            os._exit(3)

        @pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA not available")
        def test_behind_a_gate():
            assert torch.ones(2, device="cuda").sum().item() == 2

        def test_hangs_on_rank_0():
            if rank == 0:
                time.sleep(600)

        @pytest.mark.parametrize("number", [1, 2])
        def test_needs_something(number):
            raise NameError("name 'TESpecProvider' is not defined")

        def test_takes_part_on_rank_0_only():
            if rank == 1:
                pytest.skip("another rank's")
        """,
    "whole/test_b.py": "import transformer_engine",
    "broken/test_c.py": "import os; os._exit(5)",
    "broken/test_d.py": "def test_beside_it(): pass",
    "slow/test_e.py": "import time; time.sleep(600)",
    "slow/test_f.py": "def test_behind_it(): pass",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    import textwrap

    root = tmp_path_factory.mktemp("checkout")
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(textwrap.dedent(text))
    return root


def run(checkout: Path, folder: Path, *files: str) -> Report:
    limits = Limits(test_s=100, folder_s=400, silence_s=45, collective_s=5)
    return Job(checkout, files, 2, folder, limits).run()


@pytest.mark.mpi
@pytest.mark.timeout(500)
@pytest.mark.slow
def test_a_hung_or_crashed_test_costs_only_itself(checkout, tmp_path):
    report = run(checkout, tmp_path / "job", "whole/test_a.py", "whole/test_b.py")
    how = {test.partition("::test_")[2]: result.how for test, result in report.tests.items()}
    assert how == {
        "sum": "passed", "fails_on_rank_1": "failed", "is_reached_in_another_job": "passed",
        "ends_its_process": "crashed", "behind_a_gate": "passed", "hangs_on_rank_0": "crashed",
        "needs_something[1]": "failed", "needs_something[2]": "failed", "takes_part_on_rank_0_only": "passed"}
    why = {test.partition("::test_")[2]: result.why for test, result in report.tests.items()}
    assert "wrong here" in why["fails_on_rank_1"]
    assert "exit code 3" in why["ends_its_process"]
    assert "nothing was reported for 45 s" in why["hangs_on_rank_0"]
    assert "No module named 'transformer_engine'" in report.broken["whole/test_b.py"].why
    assert report.num_jobs == 4
    report.write(tmp_path / "kept.json")
    assert Report.read(tmp_path / "kept.json") == report
    assert not (tmp_path / "job").exists()


@pytest.mark.mpi
@pytest.mark.timeout(500)
def test_a_file_that_ends_its_process_while_imported_costs_only_itself(checkout, tmp_path):
    report = run(checkout, tmp_path / "job", "broken/test_c.py", "broken/test_d.py")
    assert {test: result.how for test, result in report.tests.items()} == {"broken/test_d.py::test_beside_it": "passed"}
    assert report.broken["broken/test_c.py"].how == "crashed" and "exit code 5" in report.broken["broken/test_c.py"].why


def test_files_are_found_by_folder(checkout):
    assert find_folders(checkout, ["."]) == {
        "broken": ["broken/test_c.py", "broken/test_d.py"], "slow": ["slow/test_e.py", "slow/test_f.py"],
        "whole": ["whole/test_a.py", "whole/test_b.py"]}
    assert find_folders(checkout, ["whole/test_a.py", "whole"]) == {"whole": ["whole/test_a.py", "whole/test_b.py"]}


def test_a_place_without_tests_is_refused(checkout):
    tool = Path(__file__).parent / "run_upstream.py"
    done = subprocess.run([sys.executable, tool, "--checkout", checkout, "--results", checkout / "x", "--ranks", "1",
                           "nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "nowhere has no test files" in done.stderr


@pytest.mark.mpi
def test_what_the_time_does_not_suffice_for_is_not_run(checkout, tmp_path):
    files = ("slow/test_e.py", "slow/test_f.py")
    report = Job(checkout, files, 2, tmp_path / "job", Limits(folder_s=0.5)).run()
    assert {file: result.how for file, result in report.broken.items()} == dict.fromkeys(files, "not run")
    assert not report.tests
