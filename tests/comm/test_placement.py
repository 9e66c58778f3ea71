"""Placement files: what they say, and real ranks that take their lanes from one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mpi_checks import check_outcome, names_of_checks, outcomes
from mpi_helpers import run_mpi

from megatron_fugaku.comm.placement import PlacedJob, read_placement
from megatron_fugaku.errors import CommError
from megatron_fugaku.plan.map_json import VERSION, describe_map, render_map
from megatron_fugaku.plan.map_search import search_map
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.topology import build_torus
from megatron_fugaku.plan.traffic import Phase, Traffic

TRAFFIC = Traffic("test", (Phase("tp", 4e7, 140), Phase("pp", 4e7, 14), Phase("dp", 1e9, 1)))


def write(folder: Path, ranks: RankMatrix, torus: str, ranks_per_node: int = 1) -> Path:
    path = folder / "placement.json"
    path.write_text(render_map(search_map(ranks, build_torus(torus), TRAFFIC, ranks_per_node).rank_map))
    return path


class Backend:
    """Keeps what it is given."""

    def set_lanes(self, shape, places, lanes):
        self.given = shape, places, lanes


def test_groups_are_known_by_their_members(tmp_path):
    placement = read_placement(write(tmp_path, RankMatrix(6, 288, 8), "48x6x48"))
    assert (placement.sizes, placement.num_ranks) == ({"tp": 6, "dp": 288, "pp": 8}, 13824)
    name, lanes = placement.find_group(range(12, 18))
    assert name == "tp" and lanes.shape == "3x2" and lanes.places == (0, 1, 2, 5, 4, 3)
    assert placement.find_group([17, 16, 15, 14, 13, 12])[1].places == (3, 4, 5, 2, 1, 0)
    stage = 6 * 288
    name, lanes = placement.find_group(range(stage + 5, 2 * stage, 6))
    assert name == "dp" and sorted(lanes.places) == list(range(288))
    for others in (range(13, 19), range(0, 12, 2), range(6, 6 + stage, 6), [0], [0, 13823], range(288)):
        assert placement.find_group(others) is None, others
    assert sum(weight for *_, weight in lanes.lanes) == pytest.approx(1)


def test_a_group_gets_the_lanes_and_the_first_member_says_why_not(tmp_path, capsys):
    placement = read_placement(write(tmp_path, RankMatrix(6, 1, 1), "2x3"))
    backend = Backend()
    PlacedJob(placement, 6, range(6)).give_lanes(backend, range(6), 0)
    shape, places, lanes = backend.given
    assert shape in ("2x3", "3x2") and sorted(places) == list(range(6)) and len(lanes[0]) == 3
    assert capsys.readouterr().err == ""
    untouched = Backend()
    job = PlacedJob(placement, 6, [7, 8, 9, 10, 8, 11])
    job.give_lanes(untouched, range(6), 1)
    assert capsys.readouterr().err == ""
    job.give_lanes(untouched, range(6), 0)
    job.give_lanes(untouched, range(6), 0)
    assert not hasattr(untouched, "given")
    assert capsys.readouterr().err.count("ranks 1 and 4 run on one node, which the map has on two") == 1


def test_ranks_that_share_a_node_have_no_lanes(tmp_path, capsys):
    job = PlacedJob(read_placement(write(tmp_path, RankMatrix(8, 3, 1), "4lx3", 2)), 24, None)
    for ranks in (range(8), range(0, 24, 8)):
        backend = Backend()
        job.give_lanes(backend, ranks, 0)
        if not hasattr(backend, "given"):
            assert "several of its ranks share a node" in capsys.readouterr().err


def test_what_does_not_fit_the_job(tmp_path):
    path = write(tmp_path, RankMatrix(6, 1, 1), "2x3")
    with pytest.raises(CommError, match=r"places tensor 6 x data 1 x pipeline 1 ranks = 6, but this job has 4\..*"
                                        r"\[MFUGAKU_COMM_PLACEMENT\]"):
        PlacedJob(read_placement(path), 4, None)
    read_placement(path).check_layout(6, 1, 1)
    with pytest.raises(CommError, match="but the run has tensor 3 x data 2 x pipeline 1 ranks"):
        read_placement(path).check_layout(3, 2, 1)


@pytest.mark.parametrize(("text", "words"), [
    (None, "FileNotFoundError"), ("", "JSONDecodeError"), ("[]", "TypeError"), ("{}", "KeyError 'version'"),
    (json.dumps({"version": VERSION + 1}), f"has version {VERSION + 1}, and this is for version {VERSION}"),
    (json.dumps({"version": VERSION, "dimensions": {}}), "KeyError 'tp'"),
])
def test_what_is_no_placement(tmp_path, text, words):
    path = tmp_path / "placement.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CommError) as error:
        read_placement(path)
    assert words in str(error.value) and str(error.value).endswith("[MFUGAKU_COMM_PLACEMENT]")


def test_the_version_is_the_writers():
    found = search_map(RankMatrix(6, 1, 1), build_torus("2x3"), TRAFFIC).rank_map
    assert describe_map(found)["version"] == VERSION


@pytest.fixture(scope="module")
def six_ranks(tmp_path_factory) -> dict:
    """Six ranks of this machine, each as if on a node of its own."""
    path = write(tmp_path_factory.mktemp("six"), RankMatrix(6, 1, 1), "3x2")
    return outcomes(("lanes",), 6, ("MFUGAKU_COMM_TRANSPORT", "mpi"), ("MFUGAKU_COMM_PLACEMENT", str(path)))


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("check", names_of_checks("lanes"))
def test_real_ranks(check, six_ranks):
    check_outcome(check, six_ranks)


@pytest.mark.mpi
@pytest.mark.timeout(240)
def test_ranks_elsewhere_than_the_map_has_them_go_on_without_lanes(tmp_path):
    path = write(tmp_path, RankMatrix(2, 1, 1), "2")
    script = ("import torch, torch.distributed as dist; dist.init_process_group('mpi'); t = torch.ones(10**5);"
              "dist.all_reduce(t); assert (t == 2).all(); dist.destroy_process_group()")
    done = run_mpi(["-c", script], 2, env={"MFUGAKU_COMM_PLACEMENT": str(path)})
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("ranks 0 and 1 run on one node, which the map has on two") == 1


@pytest.mark.mpi
@pytest.mark.timeout(240)
def test_another_number_of_ranks_ends_the_job(tmp_path):
    path = write(tmp_path, RankMatrix(6, 1, 1), "2x3")
    done = run_mpi(["-c", "import torch.distributed as dist; dist.init_process_group('mpi')"], 2,
                   env={"MFUGAKU_COMM_PLACEMENT": str(path)})
    assert done.returncode != 0
    assert "ranks = 6, but this job has 2" in done.stderr
