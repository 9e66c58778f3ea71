"""What compilers made of the kernels: nothing runs an instruction that dispatch has not allowed."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WIDE = {
    # Registers beyond SSE2, and whatever is encoded as AVX code is.
    "x86_64": re.compile(r"%[yz]mm|\tv[a-z0-9]+ "),
    # Vectors and predicates of SVE, and what counts their bytes; arithmetic of halves of NEON.
    "aarch64": re.compile(r"\t(f(add|mul|mla)\tv\d+\.8h|bfmmla\t)|"
                          r"\bz\d+(\.[bhsdq])?\b|\bp\d+(/[mz]|\.[bhsd])|\t(cnt[bhwd]|rdvl|addvl|addpl)\t"),
}
DIVISION = re.compile(r"\tf(div|divr|sqrt)\tz")


@dataclass(frozen=True)
class Objects:
    """Objects of the kernels for one kind of machine, and the prefix of the tools that read them."""

    machine: str
    paths: list[Path]
    prefix: str

    def disassembled(self, path: Path) -> str:
        return output_of(f"{self.prefix}objdump", "-d", "--no-show-raw-insn", path)


@pytest.fixture(scope="module", params=sorted(WIDE))
def objects(request, kernel_tests) -> Objects:
    """What this tree was last built into: for this machine, and for another one where a cross build was made."""
    machine = request.param
    prefix = "" if machine == platform.machine() else f"{machine}-linux-gnu-"
    if any(shutil.which(prefix + tool) is None for tool in ("objdump", "nm")):
        pytest.skip(f"{prefix}objdump and {prefix}nm are needed: apt-get install binutils")
    found = sorted(path for folder in (ROOT / "build").glob(f"native.*{machine}.*")
                   for path in (folder / "csrc" / "kernels").rglob("*.o")
                   if (ROOT / "csrc" / path.relative_to(folder / "csrc")).with_suffix("").exists())
    if not found:
        pytest.skip(f"nothing has been built here for {machine}")
    return Objects(machine, found, prefix)


def has_own_flags(path: Path) -> bool:
    return re.search(r"_(avx2|avx512|neon_fp16|neon_bf16|sve|sve_bf16)\.cpp\.o$", path.name) is not None


def output_of(*words: str | Path) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout


def test_code_for_every_cpu_has_no_instruction_of_some(objects):
    for path in filter(lambda path: not has_own_flags(path), objects.paths):
        found = WIDE[objects.machine].search(objects.disassembled(path))
        assert found is None, f"{path}: {found[0]}"


def test_the_search_finds_such_instructions_where_they_are(objects):
    for path in filter(has_own_flags, objects.paths):
        assert WIDE[objects.machine].search(objects.disassembled(path)), path


def test_code_for_some_cpus_shares_no_function_and_runs_nothing_at_start(objects):
    """The linker keeps one of several equal inline functions, which may be the one that this CPU cannot run."""
    for path in filter(has_own_flags, objects.paths):
        shared = re.findall(r"^\S* [WVu] .*", output_of(f"{objects.prefix}nm", "-C", path), re.MULTILINE)
        assert not shared, f"{path}: {shared}"
        assert ".init_array" not in output_of(f"{objects.prefix}objdump", "-h", path), path


def test_vectors_of_sve_are_never_divided(objects):
    """A64FX cannot pipeline the division of a vector: it takes 98 cycles, in which nothing else is computed."""
    paths = [path for path in objects.paths if "_sve" in path.name]
    if not paths:
        pytest.skip(f"{objects.machine} has no SVE")
    for path in paths:
        assert not DIVISION.search(objects.disassembled(path)), path
