"""Counts of programs whose every instruction is known, and classes against the names that a disassembler gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from megatron_fugaku.bench import a64fx_counts
from megatron_fugaku.bench.a64fx_counts import count_regions, count_threads
from megatron_fugaku.bench.a64fx_cycles import DISASSEMBLER, disassemble
from megatron_fugaku.errors import EnvironmentError

EXIT = "mov x8, #93\nmov x0, #{code}\nsvc #0\n"


def assemble(folder: Path, text: str, code: int = 0) -> Path:
    """A program of these instructions, which then ends; nothing of a C library is in it."""
    source, program = folder / "program.s", folder / "program"
    source.write_text(f".arch armv8.2-a+sve+fp16\n.global _start\n_start:\n{text}\n{EXIT.format(code=code)}")
    subprocess.run([*a64fx_counts.find_cross_compiler(), "-nostdlib", "-static", "-o", program, source], check=True)
    return program


LOOP = """
    nop
    hint #120
    mov x1, #1000
    ptrue p0.s
again:
    fmla z0.s, p0/m, z1.s, z2.s
    fmla z3.s, p0/m, z1.s, z2.s
    subs x1, x1, #1
    b.ne again
    add x2, x2, #1
    hint #121
    nop
    nop
    hint #120
    hint #121
    nop
    hint #120
    add x2, x2, #1
    hint #121
"""


def test_a_region_has_exactly_what_stands_between_its_marks(counter, tmp_path):
    program = assemble(tmp_path, LOOP)
    _, regions = count_regions(counter, [program])
    assert [region.instructions for region in regions] == [2 + 4 * 1000 + 1, 0, 1]
    assert regions[0].classes == {"sve_fma": 2000, "sve_other": 1, "branch": 1000, "integer": 1002}
    loop = max(regions[0].blocks, key=lambda block: block.executions * len(block.words))
    assert len(loop.words) == 4 and loop.executions in (999, 1000)  # the first time stands behind what comes before it
    assert sum(block.executions * len(block.words) for block in regions[0].blocks) == regions[0].instructions
    assert count_regions(counter, [program])[1] == regions


# One instruction or more of every class, in the order of their names.
KINDS = {
    "sve_fma": ["fmls z0.s, p0/m, z1.s, z2.s", "fmad z0.d, p0/m, z1.d, z2.d", "fmla z0.s, z1.s, z2.s[3]",
                "fmla z0.h, z1.h, z2.h[7]", "fmls z0.d, z1.d, z2.d[1]"],
    "sve_load": ["ld1w {z0.s}, p0/z, [sp]", "ldr z1, [sp]", "ld1h {z0.s}, p0/z, [sp, x9, lsl #1]",
                 "ldnt1w {z0.s}, p0/z, [sp]", "ld2w {z0.s, z1.s}, p0/z, [sp]", "ldr p1, [sp]"],
    "sve_broadcast": ["ld1rw {z0.s}, p0/z, [sp]", "ld1rd {z0.d}, p0/z, [sp, #8]", "ld1rqw {z0.s}, p0/z, [sp]"],
    "sve_store": ["st1w {z0.s}, p0, [sp]", "str z1, [sp]", "st1h {z0.s}, p0, [sp]"],
    "sve_other": ["fadd z0.s, z0.s, z1.s", "fexpa z0.s, z1.s", "whilelt p1.s, x9, x10", "umulh z0.s, p0/m, z0.s, z1.s",
                  "incw x9", "fdiv z0.s, p0/m, z0.s, z1.s"],
    "neon_fma": ["fmla v0.4s, v1.4s, v2.4s", "fmls v0.2d, v1.2d, v2.2d", "fmla v0.4s, v1.4s, v2.s[1]",
                 "fmla v0.4s, v1.4s, v2.s[2]", "fmla v0.8h, v1.8h, v2.8h", "fmla v0.8h, v1.8h, v2.h[5]"],
    "neon_other": ["fadd v0.4s, v1.4s, v2.4s", "mul v0.4s, v1.4s, v2.4s", "dup v0.4s, w9", "fdiv v0.4s, v1.4s, v2.4s"],
    "scalar_fma": ["fmadd s0, s1, s2, s3", "fnmsub d0, d1, d2, d3", "fmla s0, s1, v2.s[1]"],
    "scalar_float": ["fadd s0, s1, s2", "fcvt h0, s1", "fsqrt d0, d1", "scvtf s0, x9", "fmov w9, s0"],
    "simd_load": ["ldr q0, [sp]", "ldp s0, s1, [sp]", "ld1 {v0.4s}, [sp]", "ldr s0, [sp, #4]!", "ldur h0, [sp]"],
    "simd_store": ["str q0, [sp]", "stp d0, d1, [sp]", "st1 {v0.4s}, [sp]", "str s0, [sp], #-4"],
    "load": ["ldr x9, [sp]", "ldrsw x9, [sp]", "ldrb w9, [sp]", "ldp x9, x10, [sp]", "ldxr x9, [sp]", "ldr x9, _start"],
    "store": ["str x9, [sp]", "strh w9, [sp]", "stp x9, x10, [sp]", "stlr x9, [sp]"],
    "branch": ["b .+4", "cbz xzr, .+4", "tbz xzr, #0, .+4", "b.eq .+4"],
    "system": ["mrs x9, dczid_el0", "dmb ish", "nop"],
    "integer": ["add x9, x9, #1", "mul x9, x9, x10", "lsl x9, x9, #2", "csel x9, x9, x10, eq", "adrp x9, _start"],
}


def test_every_class_has_its_instructions(counter, tmp_path):
    lines = ["sub sp, sp, #4096", "mov x9, #0", "mov x10, #0", "ptrue p0.b", "hint #120"]
    lines += [line for kind in KINDS.values() for line in kind]
    program = assemble(tmp_path, "\n".join([*lines, "hint #121"]))
    [region] = count_regions(counter, [program])[1]
    assert region.classes == {kind: len(members) for kind, members in KINDS.items()}


def named_class(text: str) -> str:
    """The class of an instruction by its name and operands as a disassembler writes them."""
    name, _, operands = text.partition(" ")
    is_sve = re.search(r"\bz\d+|\bp\d+\b", operands) or re.match(r"(cnt|inc|dec)[bhwd]|rdvl|addvl|addpl", name)
    if re.fullmatch(r"b|bl|br|blr|ret|cbn?z|tbn?z|b\.\w+|svc", name):
        return "branch"
    if re.fullmatch(r"mrs|msr|nop|hint|dmb|dsb|isb|dc|bti|paci\w+|auti\w+|xpac\w+|clrex", name):
        return "system"
    is_memory = "[" in operands and re.match(r"ld|st|prf|swp|cas", name)
    if is_sve and is_memory:
        return "sve_broadcast" if name.startswith("ld1r") else "sve_store" if name.startswith("st") else "sve_load"
    is_fma = re.fullmatch(r"fn?m(la|ls|ad|sb|add|sub)", name)
    if is_sve:
        return "sve_fma" if is_fma else "sve_other"
    if is_memory:
        simd = re.match(r"\{? ?[qdshbv]\d", operands)
        return ("simd_" if simd else "") + ("store" if name.startswith("st") else "load")
    if re.match(r"ldr|ldrsw", name):  # of literals
        return "simd_load" if re.match(r"[qds]\d", operands) else "load"
    if is_fma:
        return "neon_fma" if operands.startswith("v") else "scalar_fma"
    if re.search(r"\bv\d+", operands):
        return "neon_other"
    if re.match(r"f|[su]cvtf", name):
        return "scalar_float"
    return "neon_other" if re.match(r"[dsh]\d", operands) else "integer"


@pytest.mark.skipif(shutil.which(DISASSEMBLER) is None, reason=f"needs {DISASSEMBLER}: apt-get install llvm-19")
def test_classes_agree_with_a_disassembler_over_what_kernels_execute(counter, kernel_bench):
    for isa, words in (("sve", ["bias_gelu", "dropout", "reduce", "copy", "gemm nt float32"]),
                       ("neon", ["bias_gelu", "dropout", "reduce"])):
        _, regions = count_regions(counter, [kernel_bench, f"--isa={isa}", *words])
        texts = disassemble(word for region in regions for block in region.blocks for word in block.words)
        assert len(texts) > 200
        for region in regions:
            named: Counter[str] = Counter()
            for block in region.blocks:
                for word in block.words:
                    named[named_class(texts[word])] += block.executions
            assert region.classes == dict(named)


def test_threads_share_what_one_thread_does_alone(counter, kernel_bench):
    case = "bias_gelu forward float32"
    _, [alone] = count_regions(counter, [kernel_bench, case])
    _, [threads] = count_threads(counter, [kernel_bench, "--threads=2", case])
    working = [thread for thread in threads if thread.fmas]
    assert len(threads) == 3 and len(working) == 2  # and the one that waits for them
    assert sum(thread.fmas for thread in working) == alone.classes["sve_fma"]
    assert max(thread.fmas for thread in working) <= 1.01 * alone.classes["sve_fma"] / 2
    assert all(thread.instructions > thread.fmas for thread in working)


def test_no_more_threads_than_tasks_are_worth(counter, kernel_bench):
    _, [threads] = count_threads(counter, [kernel_bench, "--threads=48", "bias_gelu forward float32"])
    assert len(threads) == 49  # each counted by itself, also those that have nothing to do
    assert sum(thread.fmas > 0 for thread in threads) == 2  # 27,648 elements, of which a thread wants 16,384


def test_a_program_that_fails_is_an_error_with_what_it_said(counter, kernel_bench, tmp_path):
    with pytest.raises(EnvironmentError, match=r"program in qemu-aarch64 ended with 3"):
        count_regions(counter, [assemble(tmp_path, "nop", code=3)])
    with pytest.raises(EnvironmentError, match=r"kernel_bench: no case has such a name"):
        count_regions(counter, [kernel_bench, "no such case"])


@pytest.mark.parametrize(("option", "said"), [
    ("--whoel", "--whoel is not an option"), ("--isa=sse", "--isa=sse names no instruction set"),
    ("--threads=0", "--threads=0 is no number of threads"),
    ("--isa=avx2", "There is no kernel dropout for avx2 on this processor, which has: sve")])
def test_options_that_the_program_lacks_are_refused(counter, kernel_bench, option, said):
    with pytest.raises(EnvironmentError, match=said):
        count_regions(counter, [kernel_bench, option, "dropout plain float32"])


def test_options_that_the_plugin_lacks_are_refused(counter, tmp_path):
    program = assemble(tmp_path, "nop")
    done = subprocess.run([a64fx_counts.find_emulator(), "-plugin", f"{counter},mode=all", program],
                          capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "mode=all is not an option" in done.stderr


def test_without_an_emulator_with_plugins_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentError, match=r"qemu-aarch64 is not on PATH.*apt install .*qemu-user"):
        a64fx_counts.find_emulator()
    emulator = tmp_path / "qemu-aarch64"
    emulator.write_text("#!/bin/sh\necho usage\n")
    emulator.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(EnvironmentError, match=r"qemu-aarch64 takes no plugins"):
        a64fx_counts.find_emulator()


def test_without_a_compiler_for_aarch64_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentError, match=r"apt install g\+\+-aarch64-linux-gnu.*--compiler"):
        a64fx_counts.find_cross_compiler()
    with pytest.raises(EnvironmentError, match=r"apt install clang-19"):
        a64fx_counts.find_cross_compiler("clang")


def test_what_does_not_compile_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(EnvironmentError, match=r"libcounter\.so does not compile: .*no-such-compiler"):
        a64fx_counts.build_counter(tmp_path)
