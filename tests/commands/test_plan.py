from pathlib import Path

import pytest

from megatron_fugaku import cli
from megatron_fugaku.plan.map_files import parse_hostfile, parse_rankfile, parse_vcoordfile
from megatron_fugaku.plan.map_json import parse_map

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fugaku_13b" / "fugaku_13b.yaml"
RUN = """
name: small
model: {num_layers: 4, hidden_size: 48, num_attention_heads: 6, seq_length: 16, vocab_size: 100}
parallel: {tensor_model_parallel_size: 6, pipeline_model_parallel_size: 2}
train: {global_batch_size: 4, train_iters: 3}
optimizer: {lr: 1e-3}
launch: {num_nodes: 24}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path


def test_the_13b_run_is_explained(capsys):
    assert cli.main(["plan", str(EXAMPLE), "--torus", "48x6x48"]) == 0
    out = capsys.readouterr().out
    assert "TP 6 on B3 x C2; DP 288 on Y2 x Z24 x A2 x X3 in steps of 8; PP 8 on X8." in out
    assert "182 x TP all-reduce of 42.47 MB, 14 x PP message of 42.47 MB" in out and "on 222 splits" in out
    assert out.count("not measured") == 2
    for line in ("row order, flat rings", "row order, modelled Fujitsu MPI", "searched map, lanes"):
        assert out.count(line) == 2


def test_files_are_written_and_agree(folder, capsys):
    (folder / "hosts").write_text("".join(f"node{number}\n" for number in range(24)))
    arguments = ["plan", "run.yaml", "--torus", "4x3x2", "--write", "deep/map", "--hosts", "hosts"]
    assert cli.main(arguments) == 0
    assert "Wrote deep/map: placement.json, rankfile, slurm_hostfile, vcoordfile." in capsys.readouterr().out
    texts = {path.name: path.read_text() for path in (folder / "deep" / "map").iterdir()}
    rank_map = parse_map(texts["placement.json"])
    coordinates, cores = parse_vcoordfile(texts["vcoordfile"])
    assert (coordinates == rank_map.coordinates).all() and cores is None
    names = parse_hostfile(texts["slurm_hostfile"])
    assert names == parse_rankfile(texts["rankfile"])[0] and len(set(names)) == 24
    x, y, z = coordinates.T
    assert names == [f"node{number}" for number in x + 4 * (y + 3 * z)]


def test_the_torus_of_the_run_is_the_default(folder, capsys):
    (folder / "run.yaml").write_text(RUN.replace("num_nodes: 24", "num_nodes: 24, topology: 4x3x2"))
    assert cli.main(["plan", "run.yaml", "--write", "map"]) == 0
    assert "On 4x3x2 on Tofu-D" in capsys.readouterr().out and not (folder / "map" / "slurm_hostfile").exists()
    assert (folder / "map" / "rankfile").read_text().startswith("rank 0=+n0 slot=0\n")


def test_ranks_of_one_node(folder, capsys):
    # Overrides may stand before and after options.
    assert cli.main(["plan", "run.yaml", "launch.num_nodes=1", "--torus", "1", "launch.ranks_per_node=24"]) == 0
    out = capsys.readouterr().out
    assert "TP 6 on ranks of a node 6" in out and out.endswith("All ranks share one node; no message passes a link.\n")


def test_more_than_three_axes_have_no_vcoordfile(folder):
    assert cli.main(["plan", "run.yaml", "--torus", "2x3x2x2", "--write", "map"]) == 0
    assert sorted(path.name for path in (folder / "map").iterdir()) == ["placement.json", "rankfile"]


@pytest.mark.parametrize("arguments, code, sentence", [
    (["run.yaml"], 4, "no torus is given"),
    (["run.yaml", "--torus", "4x3"], 4, "= 24 ranks do not fill the torus 4x3 with 1 per node = 12"),
    (["run.yaml", "--torus", "4x3xC"], 4, "is not of the form 48x6x48"),
    (["run.yaml", "parallel.pipeline_model_parallel_size=8", "--torus", "4x3x2"], 2, "num_layers 4 is not divisible"),
    (["absent.yaml", "--torus", "4x3x2"], 2, "absent.yaml cannot be read"),
    (["run.yaml", "--torus", "4x3x2", "--write", "map", "--hosts", "absent"], 4, "absent cannot be read"),
    (["run.yaml", "--torus", "4x3x2", "--write", "map", "--hosts", "run.yaml"], 4, "not of the form one host name"),
    (["run.yaml", "--torus", "4x3x2", "--hosts", "hosts"], 4, "--hosts is given without --write"),
    (["run.yaml", "--torus", "4x3x2", "--write", "map", "--hosts", "hosts"], 4, "are given for 24 nodes"),
    (["run.yaml", "--torus", "4x3x2", "--write", "run.yaml/map"], 3, "run.yaml/map cannot be written"),
])
def test_bad_input_is_one_line(folder, capsys, arguments, code, sentence):
    (folder / "hosts").write_text("a\nb\n")
    assert cli.main(["plan", *arguments]) == code
    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1 and message.startswith("mfugaku plan: error: ")
    assert not (folder / "map").exists()
