import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_fugaku.config import build_config, load_config
from megatron_fugaku.errors import LaunchError, PlanError
from megatron_fugaku.launch.job import quote_for_shell, render_job, write_job


def config(launch=None, **sections):
    content = {
        "name": "job", "model": {"num_layers": 4, "hidden_size": 64, "num_attention_heads": 4, "seq_length": 32,
                                 "vocab_size": 500},
        "parallel": {"tensor_model_parallel_size": 4}, "train": {"global_batch_size": 48, "train_iters": 2},
        "optimizer": {"lr": 1e-3}, "launch": {"num_nodes": 12, "python": "venv/bin/python", **(launch or {})},
        **sections,
    }
    return build_config(content)


FULL_PJM = {
    "ranks_per_node": 4, "cpus_per_rank": 12, "topology": "2x3x2", "environment": {"A": 'say "$HOME" `no`', "B": "2"},
    "pjm": {"rscgrp": "small", "rscunit": "rscunit_ft01", "node": "2x3x2:torus", "elapse": "1:00:00", "freq": 2200,
            "eco_state": 0, "retention_state": 0, "group": "hp000000", "llio_localtmp_size": "40Gi",
            "llio_sharedtmp_size": "10Gi", "llio_gfscache": "/vol0003:/vol0004", "llio_transfer": ["tokenizer.model"],
            "software_archive": "soft ware.tar", "mpi_options": ["-mca a 1"], "rank_prefix": ["numactl", "-m", "4-7"],
            "modules": ["lang/tcsds-1.2.39"], "extra": ["-L \"throttling_state=0\""]},
}
FULL_SLURM = {"ranks_per_node": 4, "cpus_per_rank": 16, "environment": {"A": "1"},
              "slurm": {"partition": "arm", "account": "me", "qos": "high", "modules": ["openmpi"],
                        "extra": ["--constraint=grace"]}}
VARIANTS = {"pjm-full": ("pjm", FULL_PJM), "pjm-bare": ("pjm", {}), "slurm-full": ("slurm", FULL_SLURM),
            "slurm-bare": ("slurm", {"ranks_per_node": 4})}


@pytest.mark.parametrize("variant", VARIANTS)
def test_scripts_are_clean_bash(tmp_path, variant):
    system, launch = VARIANTS[variant]
    write_job(config(launch), system, tmp_path / "job")
    for name in ("job.sh", "environment.sh"):
        subprocess.run(["bash", "-n", str(tmp_path / "job" / name)], check=True)
        if checker := shutil.which("shellcheck") or _shellcheck_of_pip():
            done = subprocess.run([checker, str(tmp_path / "job" / name)], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout


def _shellcheck_of_pip():
    path = Path(sys.executable).parent / "shellcheck"
    return str(path) if path.exists() else None


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_ssh_hostfile_or_port(variant):
    system, launch = VARIANTS[variant]
    text = "".join(render_job(config(launch), system, "jobs/x").files.values()).lower()
    assert not [word for word in ("ssh", "hostfile", "master_port", "master_addr", "machinefile") if word in text]


def test_pjm_says_what_the_run_says():
    job = render_job(config(FULL_PJM), "pjm", "jobs/x")
    script = job.files["job.sh"]
    for line in ('#PJM -L "rscgrp=small"', '#PJM -L "rscunit=rscunit_ft01"', '#PJM -L "node=2x3x2:torus"',
                 '#PJM -L "elapse=1:00:00"', '#PJM -L "freq=2200"', '#PJM -L "eco_state=0"', '#PJM -g hp000000',
                 '#PJM --mpi "proc=48"', '#PJM --mpi "max-proc-per-node=4"', "#PJM --llio localtmp-size=40Gi",
                 "#PJM -x PJM_LLIO_GFSCACHE=/vol0003:/vol0004", '#PJM -L "throttling_state=0"', 'job="jobs/x"',
                 'module load "lang/tcsds-1.2.39"', "mpiexec -np 48 \\", '  --vcoordfile "${job}/vcoordfile" \\',
                 "  -mca a 1 \\", '  "numactl" "-m" "4-7" \\', '  "tokenizer.model"',
                 'mpiexec -np 12 tar -xf "soft ware.tar" -C "${PJM_LOCALTMP}"',
                 '  "venv/bin/python" -m megatron_fugaku pretrain "${job}/config.yaml" || status=$?'):
        assert line in script.splitlines(), line
    environment = job.files["environment.sh"].splitlines()
    assert "export OMP_NUM_THREADS=12" in environment
    assert 'export MFUGAKU_COMM_PLACEMENT="${job:?set by job.sh}/placement.json"' in environment
    assert '  "${job}/placement.json"' in script.splitlines()  # copied to the nodes
    assert "export XOS_MMM_L_PAGING_POLICY=demand:demand:demand" in environment
    assert 'export A="say \\"$HOME\\" \\`no\\`"' in environment
    assert job.files["vcoordfile"].splitlines()[:4] == ["(0,0,0) core=12"] * 4
    placement = json.loads(job.files["placement.json"])
    assert placement["torus"] == [2, 3, 2] and placement["dimensions"]["tp"]["ranks_in_node"] == 4


def test_slurm_says_what_the_run_says():
    script = render_job(config(FULL_SLURM), "slurm", "jobs/x").files["job.sh"]
    for line in ("#SBATCH --nodes=12", "#SBATCH --ntasks-per-node=4", "#SBATCH --cpus-per-task=16",
                 "#SBATCH --qos=high", "#SBATCH --partition=arm", "#SBATCH --account=me",
                 "#SBATCH --constraint=grace", "cpus_per_rank=16"):
        assert line in script.splitlines(), line
    assert "srun --mpi=pmix --kill-on-bad-exit=1 --cpu-bind=cores" in script


def test_the_environment_reaches_the_ranks(tmp_path):
    """The script itself runs, with srun played by a program that prints what a rank would see."""
    write_job(config({**FULL_SLURM, "slurm": {}}), "slurm", tmp_path / "jobs" / "x")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/bash\necho "$OMP_NUM_THREADS $A $PWD"\nprintf "%s\\n" "$@"\n')
    (tools / "srun").chmod(0o755)
    job = render_job(config({**FULL_SLURM, "slurm": {}}), "slurm", "jobs/x")
    (tmp_path / "jobs" / "x" / "job.sh").write_text(job.files["job.sh"])
    done = subprocess.run(["bash", str(tmp_path / "jobs" / "x" / "job.sh")], capture_output=True, text=True, check=True,
                          env={"PATH": f"{tools}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(tmp_path)})
    lines = done.stdout.splitlines()
    assert lines[0] == f"16 1 {tmp_path}"
    assert lines[-5:] == ["venv/bin/python", "-m", "megatron_fugaku", "pretrain", "jobs/x/config.yaml"]


@pytest.mark.parametrize("status", [0, 5])
def test_the_pjm_script_runs_and_keeps_the_exit_status(tmp_path, status):
    launch = {"ranks_per_node": 4, "cpus_per_rank": 12, "topology": "2x3x2",
              "pjm": {"software_archive": "software.tar"}}
    job = write_job(config(launch), "pjm", tmp_path / "jobs" / "x")
    (tmp_path / "jobs" / "x" / "job.sh").write_text(job.files["job.sh"].replace(f"{tmp_path}/", ""))
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, body in (("mpiexec", f'echo "mpiexec $*"; [ "$3" = tar ] || exit {status}'),
                       ("llio_transfer", 'echo "llio_transfer $*"')):
        (tools / name).write_text(f"#!/bin/bash\n{body}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(["bash", str(tmp_path / "jobs" / "x" / "job.sh")], capture_output=True, text=True,
                          env={"PATH": f"{tools}:{os.environ['PATH']}", "PJM_O_WORKDIR": str(tmp_path),
                               "PJM_LOCALTMP": "/local"})
    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines() == [
        "llio_transfer jobs/x/config.yaml", "llio_transfer jobs/x/placement.json", "llio_transfer software.tar",
        "mpiexec -np 12 tar -xf software.tar -C /local",
        "mpiexec -np 48 --vcoordfile jobs/x/vcoordfile -std-proc jobs/x/output/%j/%m/%/1000r/stdproc "
        "venv/bin/python -m megatron_fugaku pretrain jobs/x/config.yaml",
        "llio_transfer --purge jobs/x/config.yaml", "llio_transfer --purge jobs/x/placement.json",
        "llio_transfer --purge software.tar"]


def test_the_folder_is_complete_and_holds_the_same_run(tmp_path):
    job = write_job(config(FULL_PJM), "pjm", tmp_path / "deep" / "job")
    assert {path.name for path in (tmp_path / "deep" / "job").iterdir()} == set(job.files)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["job"]
    assert load_config(tmp_path / "deep" / "job" / "config.yaml") == config(FULL_PJM)
    assert os.access(tmp_path / "deep" / "job" / "job.sh", os.X_OK)
    assert f"Submit with: pjsub {tmp_path}/deep/job/job.sh" in job.summary


def test_what_stands_there_is_not_lost(tmp_path):
    write_job(config(), "slurm", tmp_path / "job")
    with pytest.raises(LaunchError, match=r"exists already.*--overwrite"):
        write_job(config(), "slurm", tmp_path / "job")
    (tmp_path / "job" / "mine.txt").write_text("notes")
    write_job(config(), "pjm", tmp_path / "job", overwrite=True)
    assert "#PJM" in (tmp_path / "job" / "job.sh").read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(LaunchError, match="is not a job folder"):
        write_job(config(), "slurm", tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "thesis.txt").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(LaunchError, match="is not a job folder"):
        write_job(config(), "slurm", tmp_path / "file", overwrite=True)
    (tmp_path / "empty").mkdir()
    write_job(config(), "slurm", tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "job", "other"]


def test_a_failing_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LaunchError, match="cannot be written: No space left on device"):
        write_job(config(), "slurm", tmp_path / "job")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("launch, sentence", [
    ({"topology": "2x3"}, "do not fill the torus 2x3 with 1 per node = 6"),
    ({"topology": "2x6", "pjm": {"node": "3x4:torus"}}, "launch.topology 2x6 differs from launch.pjm.node 3x4:torus"),
    ({"pjm": {"node": "3x3"}}, "holds 9 nodes but launch.num_nodes is 12"),
    ({"node_memory_gib": 0.5}, "pipeline stage 0 needs"),
])
def test_layouts_that_do_not_fit(launch, sentence):
    with pytest.raises(PlanError, match=sentence.replace(".", r"\.")):
        render_job(config(launch), "pjm", "jobs/x")


def test_an_unknown_vocabulary_is_said():
    run = config(model={"num_layers": 4, "hidden_size": 64, "num_attention_heads": 4, "seq_length": 32})
    assert "Memory: not estimated" in render_job(run, "slurm", "jobs/x").summary


def test_shell_quoting_leaves_variables():
    assert quote_for_shell('a"b`c\\d$E') == '"a\\"b\\`c\\\\d$E"'
