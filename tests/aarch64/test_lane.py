"""The lane's own words: what it says of bad input, of parts that fail, and how it counts."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"
IS_ARM = platform.machine() == "aarch64"
HAS_SVE = IS_ARM and ctypes.CDLL(None).prctl(51, 0, 0, 0, 0) > 0

pytestmark = pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="the lane starts from a checkout")


def lane(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "docker" / "lane.sh", *arguments], env={**os.environ, **env}, capture_output=True,
                          text=True, timeout=120, check=False)


@pytest.mark.parametrize(("arguments", "said"), [
    (["--imgae", "x"], r"'--imgae' is not an option\. See docker/lane\.sh --help\."),
    (["--image"], r"--image has no value\. See docker/lane\.sh --help\."),
    (["--native", "nothing"], r"no part is named like: nothing\. There are: .*; MPI backend, 2 ranks; "),
])
def test_bad_arguments_are_named(arguments, said):
    done = lane(*arguments)
    assert done.returncode == 2
    assert re.match(f"docker/lane.sh: error: {said}", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_the_parts_can_be_listed_and_chosen():
    names = lane("--native", "--list").stdout.splitlines()
    assert {"installed package", "MPI backend, 4 ranks", "pretraining TP2 PP2, 4 ranks"} <= set(names)
    assert lane("--native", "--list", "mpi BACKEND").stdout.splitlines() == [
        "MPI backend, 2 ranks", "MPI backend, 4 ranks"]


@pytest.mark.skipif(HAS_SVE, reason="has SVE")
def test_sve_that_is_demanded_and_missing_is_said():
    done = lane("--native", "--need-sve")
    assert done.returncode == 3
    assert re.match(rf"docker/lane.sh: error: this {platform.machine()} processor has no SVE\. .*Leave --need-sve out",
                    done.stderr)


@pytest.mark.skipif(IS_ARM, reason="needs no emulator")
def test_without_an_image_it_says_how_to_build_one():
    done = lane("--image", "localhost/no-such-image:arm64")
    assert done.returncode == 3
    assert re.search(r"no image 'localhost/no-such-image:arm64' .*Run: docker/build\.sh --platform linux/arm64 "
                     r"--target test\n$", done.stderr), done.stderr


def fake_engine(folder: Path, architecture: str) -> dict[str, str]:
    """A `docker` that has an image of an architecture, and runs its commands on this machine."""
    docker = folder / "docker"
    docker.write_text("#!/bin/sh\n[ \"$1\" != image ] || echo " + architecture + "\n")
    docker.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.skipif(IS_ARM, reason="needs no emulator")
def test_without_an_emulator_it_says_what_to_install(tmp_path):
    done = lane(**fake_engine(tmp_path, "arm64"), BINFMT_DIR=str(tmp_path / "binfmt"))
    assert done.returncode == 3
    assert re.search(r"programs for aarch64 do not run on this machine: .*apt install qemu-user-static binfmt-support$",
                     done.stderr.strip()), done.stderr


@pytest.mark.skipif(IS_ARM, reason="runs natively")
def test_an_image_of_another_architecture_is_refused(tmp_path):
    done = lane("--image", "mine", **fake_engine(tmp_path, "amd64"))
    assert done.returncode == 2
    assert "mine is an image for linux/amd64, not for linux/arm64" in done.stderr


def schedule(folder: Path, parts: str, cores: int = 2) -> subprocess.CompletedProcess[str]:
    """Run parts, written in bash, as the lane runs its own."""
    script = f"set -euo pipefail\n. docker/common.sh\n. docker/lane/schedule.sh\n{parts}\nrun_parts {folder}\n"
    return subprocess.run(["bash", "-c", script, "lane.sh"], cwd=ROOT, env={**os.environ, "LANE_CORES": str(cores)},
                          capture_output=True, text=True, timeout=60, check=False)


def test_tests_of_pytest_and_doctest_are_added_up(tmp_path):
    done = schedule(tmp_path, """
part 1 one echo '5 passed, 2 skipped in 3.21s'
part 1 two echo '[doctest] test cases:  12 |  12 passed | 0 failed | 3 skipped'
part all three echo '============ 4 passed, 1 deselected in 0.1s ======'
""")
    assert done.returncode == 0, done.stdout
    assert re.search(r"lane.sh \[ +\d+ s\]: ok     two: 12 passed, 3 skipped in \d s \(\d+ s of CPU\)\n", done.stdout)
    assert re.search(r"\n21 passed, 5 skipped in \d+s\n$", done.stdout)


@pytest.mark.parametrize(("command", "passed", "failed", "said"), [
    ("sh -c 'echo 2 failed, 7 passed in 1s; exit 1'", 7, 2, "exit status 1"),
    ("sh -c 'echo 1 error in 1s; exit 2'", 0, 1, "exit status 2"),
    ("sh -c 'echo before; kill -ILL $$'", 0, 1, "exit status 132"),
    ("sh -c 'echo 3 passed; exit 3'", 3, 1, "exit status 3"),
    ("echo 4 skipped in 1s", 0, 1, "no test ran"),
    ("echo nothing", 0, 1, "no test ran"),
    ("no_such_command", 0, 1, "exit status 127"),
])
def test_a_part_that_fails_shows_its_log_and_fails_the_lane(tmp_path, command, passed, failed, said):
    done = schedule(tmp_path, f"part 1 good echo 1 passed\npart 1 bad {command}")
    assert done.returncode == 1
    assert "FAILED bad: " in done.stdout and "ok     good: " in done.stdout and said in done.stdout
    assert re.search(rf"\n{passed + 1} passed, {failed} failed(, 4 skipped)? in \d+s\n$", done.stdout), done.stdout


def test_parts_run_side_by_side_and_those_with_ranks_alone(tmp_path):
    """Each notes how many run beside it while it does."""
    done = schedule(tmp_path, f"""
note() {{ touch {tmp_path}/on.$1; sleep 0.7; ls {tmp_path}/on.* | wc -l >{tmp_path}/beside.$1; rm {tmp_path}/on.$1
    echo 1 passed; }}
part 1 a note a
part 1 b note b
part all c note c
part 1 d note d
""")
    assert done.returncode == 0, done.stdout
    beside = {name: int((tmp_path / f"beside.{name}").read_text()) for name in "abcd"}
    assert beside["c"] == beside["d"] == 1
    assert max(beside["a"], beside["b"]) == 2


@pytest.mark.skipif(HAS_SVE, reason="has SVE")
def test_a_vector_length_that_cannot_be_had_is_said():
    command = [sys.executable, str(PROGRAMS / "vector_length.py")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"
    done = subprocess.run([*command, "64", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("SVE vectors of 64 bytes cannot be had, only of 0. ")


@pytest.mark.parametrize("path", ["docker/lane.sh", "docker/lane/parts.sh", "docker/lane/schedule.sh"])
def test_the_scripts_are_clean(path):
    checker = shutil.which("shellcheck", path=f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}")
    if checker is None:
        pytest.skip("needs shellcheck")
    done = subprocess.run([checker, "-x", path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
