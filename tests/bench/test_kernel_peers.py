"""Stock torch's side: its program on this machine's own torch, where an aarch64 torch is looked for, units."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from megatron_fugaku.bench import kernel_peers
from megatron_fugaku.bench.a64fx_counts import Block, Region
from megatron_fugaku.bench.kernel_peers import PROGRAM, find_site, open_arm64_root, subtract
from megatron_fugaku.bench.kernel_score import STOCK_CASES
from megatron_fugaku.errors import EnvironmentError

OURS = [{"case": f"{op} {variant} {dtype}", "op": op, "variant": variant, "dtype": dtype, "shape": shape,
         "unit": "element", "num_units": 4096}
        for op, variant, shape in (("bias_gelu", "forward", [4, 1024]), ("bias_gelu", "backward", [4, 1024]),
                                   ("dropout", "plain", [4, 1024]), ("dropout", "bias_residual", [4, 1024]),
                                   ("reduce", "sum", [4096]), ("reduce", "widen", [4096]), ("reduce", "narrow", [4096]),
                                   ("reduce", "squares", [4096]), ("adamw", "low", [4096]),
                                   ("copy", "stream", [4096]), ("no such op", "", [4096]))
        for dtype in ("float32", "bfloat16", "float16")]
OURS += [{"case": f"{op} {variant}", "op": op, "variant": variant, "dtype": "float32", "shape": shape, "unit": unit,
          "num_units": 4096}
         for op, shape, unit, variants in (
             ("norm", [4, 64], "element", ("layer forward", "layer backward", "rms forward", "rms backward",
                                           "layer residual forward", "rms residual backward")),
             ("softmax", [4, 64], "element", ("forward", "backward", "forward causal", "backward causal")),
             ("swiglu", [4, 64], "element", ("forward", "backward")), ("cross_entropy", [4, 64], "element", ("both",)),
             ("adamw", [4096], "element", ("",)), ("rope", [8, 4, 16], "element", ("halves", "interleaved")),
             ("bias_gelu", [4, 64], "element", ("exact forward", "exact backward")),
             ("attention", [2, 16, 8], "flop", ("forward", "backward")),
             ("gemm", [1, 16, 24, 8], "flop", ("nt", "nn", "tn")),
             ("gemm", [2, 16, 24, 8], "flop", ("heads nt", "heads nn", "heads tn")))
         for variant in variants]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_program_runs_every_case_that_torch_has_between_marks(tmp_path):
    """On this machine, where marks write a line each: two regions for elements, one for products."""
    source, marks, cases = tmp_path / "marks.c", tmp_path / "libmarks.so", tmp_path / "cases.json"
    source.write_text('#include <stdio.h>\nvoid mfugaku_begin_region(void) { fputs("<", stderr); }\n'
                      'void mfugaku_end_region(void) { fputs(">", stderr); }\n')
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", marks, source], check=True)
    asked = [*OURS, *STOCK_CASES.values()]
    cases.write_text(json.dumps(asked))
    done = subprocess.run([sys.executable, "-W", "ignore", PROGRAM, marks, cases], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    known = [case for case in asked if case["op"] != "no such op"]
    expected = [name for case in known for name in [case["case"]] * (2 if case["unit"] == "element" else 1)]
    assert [line["case"] for line in lines] == expected
    assert done.stderr == "<>" * len(lines)
    assert [line["num_units"] for line in lines[:2]] == [1024, 4096]
    assert {line["num_units"] for line in lines if line["case"] == "reduce sum float32"} == {64, 4096}


def test_what_a_call_costs_by_itself_is_subtracted():
    """The way to the kernel, 500 instructions, is in both; so is the first iteration."""
    way, loop, other = Block(0, "way", 50, (1,) * 10), Block(64, "loop", 11, (2,) * 4), Block(96, "end", 1, (3,))
    part = Region(505, {"integer": 505}, (way, replace(loop, executions=1), other))
    whole = Region(544, {"integer": 540, "branch": 4}, (way, loop))
    rest = subtract(whole, part)
    assert rest.instructions == 39 and rest.classes == {"integer": 35, "branch": 4}
    assert set(rest.blocks) == {replace(loop, executions=10), replace(other, executions=-1)}
    assert sum(block.executions * len(block.words) for block in rest.blocks) == rest.instructions
    assert subtract(whole) is whole


def make_root(folder, site):
    (folder / site / "torch").mkdir(parents=True)
    (folder / "usr" / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "usr" / "bin" / "python3.11").touch()
    return folder


@pytest.mark.parametrize("site", ["usr/local/lib/python3.11/dist-packages", "opt/site"])
def test_an_aarch64_system_is_known_by_its_torch(tmp_path, site):
    root = make_root(tmp_path, site)
    assert find_site(root) == (root / "usr/bin/python3.11", root / site)
    with open_arm64_root(root) as opened:
        assert opened == root


def test_a_folder_without_torch_is_refused(tmp_path):
    with pytest.raises(EnvironmentError, match=r"has no Python with torch.*--arm64-root"), open_arm64_root(tmp_path):
        pass


def test_without_an_image_the_error_says_how_to_build_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentError, match=r"docker/build\.sh --platform linux/arm64"), open_arm64_root():
        pass


def test_an_image_is_mounted_and_the_container_removed(tmp_path, monkeypatch):
    """With a buildah that notes how it was called."""
    root = make_root(tmp_path / "root", "usr/local/lib/python3.11/dist-packages")
    buildah, log = tmp_path / "buildah", tmp_path / "log"
    buildah.write_text(f'#!/bin/sh\necho "$@" >>{log}\ncase $1 in from) [ "${{6#localhost/}}" = mfugaku:arm64 ] && '
                       f'echo container-1 ;; mount) echo {root} ;; esac\n')
    buildah.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with open_arm64_root() as opened:
        assert opened == root
    calls = log.read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["from", "from", "mount", "rm"]
    assert calls[-1] == "rm container-1" and kernel_peers.IMAGES[1] in calls[1]
