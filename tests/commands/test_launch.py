import sys

import pytest

from megatron_fugaku import cli
from megatron_fugaku.launch import local, mpi
from megatron_fugaku.launch.mpi import MpiRun

RUN = """
name: small
model: {num_layers: 2, hidden_size: 32, num_attention_heads: 4, seq_length: 16, vocab_size: 100}
parallel: {tensor_model_parallel_size: 2}
train: {global_batch_size: 4, train_iters: 3}
optimizer: {lr: 1e-3}
data: {data_path: [text], tokenizer_model: sp.model}
launch: {ranks_per_node: 2, environment: {EXTRA: "1"}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("megatron_fugaku.launch.local.find_mpirun", lambda: MpiRun("mpirun", "openmpi", "4.1.4"))
    for name in ("text.bin", "text.idx", "sp.model"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path


def test_dry_run_shows_the_command_and_starts_nothing(folder, capsys, monkeypatch):
    monkeypatch.setattr("megatron_fugaku.launch.local.run_plan", lambda *args, **kwargs: pytest.fail("started"))
    # Overrides may stand before and after options.
    arguments = ["launch", "local", "run.yaml", "train.seed=1", "--num-ranks", "4", "--dry-run", "train.train_iters=5"]
    assert cli.main(arguments) == 0
    note, line = capsys.readouterr().out.strip().splitlines()
    assert note.startswith("# 4 ranks of")
    assert " -n 4 " in line and "EXTRA=1" in line
    assert line.endswith("-m megatron_fugaku pretrain run.yaml train.seed=1 train.train_iters=5")


@pytest.mark.parametrize("arguments, code, sentence", [
    (["launch", "local", "run.yaml", "--num-ranks", "3"], 2, "3 ranks cannot be divided into replicas"),
    (["launch", "local", "absent.yaml"], 2, "absent.yaml cannot be read"),
    (["launch", "local", "run.yaml", "data.data_path=[gone]"], 2, "token file gone.bin does not exist"),
    (["launch", "slurm", "run.yaml", "--output", "job", "--check-files", "data.data_path=[gone]"], 2, "gone.bin"),
    (["launch", "pjm", "run.yaml", "--output", "job", "launch.topology=3x3"], 4, "do not fill the torus 3x3"),
])
def test_bad_input_is_refused_before_anything_starts(folder, capsys, monkeypatch, arguments, code, sentence):
    monkeypatch.setattr(mpi, "find_mpirun", lambda: pytest.fail("looked for an MPI first"))
    assert cli.main(arguments) == code
    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1
    assert not (folder / "job").exists()


def test_an_option_that_does_not_exist(folder, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["launch", "local", "run.yaml", "--hostfile=x"])
    assert caught.value.code == 2 and "--hostfile=x" in capsys.readouterr().err


def test_a_job_folder(folder, capsys):
    assert cli.main(["launch", "slurm", "run.yaml", "--output", "jobs/small"]) == 0
    out = capsys.readouterr().out
    assert "2 ranks = tensor 2 x data 1 x pipeline 1, 2 per node on 1 node." in out
    assert "Submit with: sbatch jobs/small/job.sh" in out
    assert (folder / "jobs/small/config.yaml").exists()
    assert cli.main(["launch", "slurm", "run.yaml", "--output", "jobs/small"]) == 9


@pytest.mark.mpi
def test_a_rank_that_dies_is_the_last_line(folder, capfd, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    real = local.plan_local
    program = ("import os, time\n"
               "if os.environ.get('OMPI_COMM_WORLD_RANK', os.environ.get('PMI_RANK')) == '1':\n"
               "    os.kill(os.getpid(), 9)\n"
               "time.sleep(30)")
    monkeypatch.setattr(local, "plan_local", lambda words, ranks, **options: real(
        [sys.executable, "-S", "-c", program], ranks, **options))
    assert cli.main(["launch", "local", "run.yaml", "train.seed=1"]) == 9
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("mfugaku launch: error: rank 1 was killed by signal 9 (SIGKILL)")
    assert "esume from the last checkpoint in runs/small/checkpoints with the same command: mfugaku launch local " \
        "run.yaml train.seed=1" in last
