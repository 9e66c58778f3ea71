"""``mfugaku run``: a program of others as its own ``__main__``, with what GPUs' launchers and torch would give it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
from mpi_helpers import mpi_environment, run_mpi

from megatron_fugaku.cli import main
from megatron_fugaku.errors import ConfigError, PatchError
from megatron_fugaku.patches import PATCHES

RUN = ["-m", "megatron_fugaku", "run"]


def write(path, text: str):
    path.write_text(textwrap.dedent(text))
    return path


def run(*words, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *RUN, *map(str, words)], capture_output=True, text=True, timeout=120,
                          cwd=cwd, env=mpi_environment())


def test_a_script_is_main_and_finds_what_lies_beside_it(tmp_path):
    (tmp_path / "neighbour.py").write_text("word = 'beside'\n")
    script = write(tmp_path / "script.py", """
        import json, os, sys
        import neighbour
        print(json.dumps({"name": __name__, "argv": sys.argv, "word": neighbour.word, "path": sys.path[0],
                          "file": __file__, "env": {name: os.environ.get(name) for name in (
                              "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}}))
        """)
    done = run(script, "--option", "key=value", "-x", "--", "rest")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["argv"] == [str(script), "--option", "key=value", "-x", "--", "rest"]
    assert (seen["name"], seen["word"], seen["path"], seen["file"]) == ("__main__", "beside", str(tmp_path),
                                                                        str(script))
    assert int(seen["env"].pop("MASTER_PORT")) > 0
    assert seen["env"] == {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1",
                           "MASTER_ADDR": "127.0.0.1"}


def test_a_tool_of_a_checkout_imports_the_checkout(tmp_path):
    core = tmp_path / "megatron" / "core"
    core.mkdir(parents=True)
    (core / "__init__.py").touch()
    (core / "package_info.py").write_text("MAJOR = 0\nMINOR = 16\nPATCH = 1\nPRE_RELEASE = ''\n")
    (core / "only_here.py").write_text("word = 'of the checkout'\n")
    (tmp_path / "tools").mkdir()
    tool = write(tmp_path / "tools" / "tool.py", "from megatron.core.only_here import word; print(word)")
    done = run(tool)
    assert (done.returncode, done.stdout) == (0, "of the checkout\n"), done.stderr


def test_a_module_is_found_in_the_folder_one_is_in(tmp_path):
    write(tmp_path / "there.py", "import sys; print(__name__, sys.argv[1:]); sys.exit(7)")
    done = run("-m", "there", "--a", "b", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (7, "__main__ ['--a', 'b']\n"), done.stderr


def test_what_does_not_exist_is_refused(tmp_path, capsys):
    assert main(["run", str(tmp_path / "no.py")]) == ConfigError.exit_code
    assert "there is no script" in capsys.readouterr().err
    assert main(["run", "-m", "no_such_module_here"]) == ConfigError.exit_code
    assert "there is no module no_such_module_here" in capsys.readouterr().err


def test_the_words_of_gpus_are_answered(tmp_path):
    script = write(tmp_path / "script.py", """
        import time
        import torch, torch.distributed as dist
        torch.cuda.set_device(0)
        dist.init_process_group("nccl")
        assert dist.get_backend() == "mpi" and torch.cuda.device_count() == 1 and not torch.cuda.is_available()
        model = torch.nn.Linear(4, 4).cuda()
        data = torch.ones(2, 4, device="cuda")
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            loss = model(data.to("cuda")).sum()
        loss.backward()
        end.record()
        torch.cuda.synchronize()
        dist.all_reduce(model.weight.grad)
        counts = torch.cuda.LongTensor([3, 4])
        torch.cuda.manual_seed_all(5)
        first = torch.rand(2)
        torch.cuda.manual_seed_all(5)
        assert torch.equal(first, torch.rand(2))
        assert start.elapsed_time(end) > 0
        group = dist.new_group([0], backend="gloo")
        assert dist.get_backend(group) == "gloo" and dist.get_backend(dist.new_group([0])) == "mpi"
        dist.destroy_process_group()
        dist.init_process_group("cpu:gloo,cuda:nccl")
        dist.barrier()
        dist.destroy_process_group()
        dist.init_process_group()
        print(dist.get_backend(), counts.device, counts.tolist(), model.weight.grad.tolist()[0])
        """)
    done = run(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mfugaku cpu [3, 4] [2.0, 2.0, 2.0, 2.0]\n"


def test_what_nothing_answers_is_named(tmp_path):
    script = write(tmp_path / "script.py", "import torch\ntorch.cuda.get_device_properties(0)\n")
    done = run(script)
    assert done.returncode == PatchError.exit_code
    assert "torch.cuda.get_device_properties needs a GPU" in done.stderr
    assert f"{script}:2 calls it" in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_errors_keep_their_traceback(tmp_path):
    done = run(write(tmp_path / "script.py", "def f():\n    1 / 0\nf()\n"))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr and "line 2, in f" in done.stderr


def test_a_program_that_imports_little_pays_for_little(tmp_path):
    script = write(tmp_path / "script.py", """
        import sys
        print(sorted({name.partition(".")[0] for name in sys.modules} & {"megatron", "deepspeed", "transformers"}))
        """)
    done = run(script)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_patches_are_applied_as_modules_are_imported(tmp_path):
    script = write(tmp_path / "script.py", """
        import json
        from megatron_fugaku import patches
        first = [entry["id"] for entry in patches.ledger()]
        import megatron.core.tensor_parallel, megatron.core.optimizer
        print(json.dumps([first, [entry["id"] for entry in patches.ledger()], patches.run_checks()]))
        """)
    done = run(script)
    assert done.returncode == 0, done.stderr
    first, then, wrong = json.loads(done.stdout)
    assert set(first) == {patch.id for patch in PATCHES if patch.distribution == "torch"}
    assert {"rng-fork", "adam-class", "clip-norm-cuda"} <= set(then) - set(first)
    assert wrong == {}


def test_the_same_from_a_program(tmp_path):
    program = "import megatron_fugaku; megatron_fugaku.patch(); megatron_fugaku.patch(); import torch; " \
              "print(torch.zeros(1, device='cuda').device, torch.cuda.device_count())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120,
                          env=mpi_environment(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "cpu 1\n"), done.stderr


@pytest.mark.mpi
def test_ranks_find_each_other_and_one_that_fails_ends_all(tmp_path):
    script = write(tmp_path / "script.py", """
        import os, sys
        import torch, torch.distributed as dist
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        torch.cuda.set_device(rank % torch.cuda.device_count())
        dist.init_process_group("nccl", rank=rank, world_size=size)
        total = torch.tensor([rank], device=f"cuda:{rank}")
        dist.all_reduce(total)
        model = torch.nn.Linear(1, 1, bias=False).cuda()
        model = torch.nn.parallel.DistributedDataParallel(model, device_ids=[rank], output_device=rank)
        model(torch.full((1, 1), float(rank)).cuda()).sum().backward()
        assert model.module.weight.grad.item() == 1.0, "the mean of the ranks"
        for _ in range(3):  # again and again, as suites of tests do
            dist.destroy_process_group()
            dist.init_process_group(backend="gloo")
        # Another library meets there by itself.
        store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), size, rank == 0)
        store.set(str(rank), "here")
        store.wait([str(peer) for peer in range(size)])
        sys.stdout.write(f"{total.item()} of {torch.cuda.device_count()} ports {os.environ['MASTER_PORT']}\\n")
        sys.stdout.flush()
        dist.barrier()
        if "fail" in sys.argv and rank == 1:
            raise KeyError("only here")
        dist.barrier()
        """)
    done = run_mpi([*RUN, script], 3)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and len(set(lines)) == 1 and lines[0].startswith("3 of 3 ports ")
    done = run_mpi([*RUN, script, "fail"], 3)
    assert done.returncode != 0
    assert "rank 1: KeyError: 'only here'" in done.stderr
