"""Instructions of a program on an A64FX that nobody here has: QEMU executes it, and our plugin counts.

The plugin (``csrc/emulator/counter.cpp``) counts between two marks that the program sets, exactly and alike in every
run. QEMU must be the one with plugins: Debian's ``qemu-user``; its ``qemu-user-static``, which runs images of other
architectures, has none, and both can be installed together.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_fugaku.errors import EnvironmentError

ROOT = Path(__file__).resolve().parents[2]
EMULATOR = "qemu-aarch64"
PROCESSOR = "a64fx"
#: What the kernels can be compiled with for aarch64 on another machine.
COMPILERS = {"gcc": "aarch64-linux-gnu-g++", "clang": "clang++-19 --target=aarch64-linux-gnu"}
PACKAGES = {"gcc": "g++-aarch64-linux-gnu", "clang": "clang-19 g++-aarch64-linux-gnu"}
INSTALL_EMULATOR = "apt install --no-install-recommends qemu-user"


@dataclass(frozen=True)
class Block:
    """Instructions that are executed one after the other, as QEMU cut them: ``words`` from ``address`` on."""

    address: int
    symbol: str
    executions: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class Region:
    """What was executed between two marks: instructions in all and by class, and the blocks they stand in."""

    instructions: int
    classes: Mapping[str, int]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class ThreadCount:
    """What one thread executed between two marks; multiply-adds are those of all kinds and widths."""

    instructions: int
    fmas: int


def find_emulator() -> str:
    """Return the path of a QEMU that takes plugins.

    Raises:
        EnvironmentError: there is none on PATH.
    """
    path = shutil.which(EMULATOR)
    has_plugins = path is not None and "-plugin" in subprocess.run([path, "--help"], capture_output=True, text=True,
                                                                   check=False).stdout
    if not has_plugins:
        raise EnvironmentError(f"{EMULATOR} {'takes no plugins' if path else 'is not on PATH'}",
                               "instructions are counted by a plugin of it", f"install it ({INSTALL_EMULATOR})",
                               EMULATOR)
    return path


def find_cross_compiler(name: str = "gcc") -> list[str]:
    """Return the words of a compiler of ``COMPILERS`` for aarch64.

    Raises:
        EnvironmentError: it is not on PATH.
    """
    words = COMPILERS[name].split()
    if shutil.which(words[0]) is None:
        raise EnvironmentError(f"{words[0]} is not on PATH", "the kernels are compiled with it for aarch64",
                               f"install it (Debian: apt install {PACKAGES[name]})", "--compiler")
    return words


def describe_compiler(name: str) -> str:
    """``gcc`` -> ``gcc 12.2.0``; counts are those of one version of a compiler."""
    option = "-dumpfullversion" if name == "gcc" else "-dumpversion"
    done = subprocess.run([*find_cross_compiler(name), option], capture_output=True, text=True, check=True)
    return f"{name} {done.stdout.strip()}"


def build_counter(folder: Path) -> Path:
    """Compile the plugin for this machine into a folder.

    Raises:
        EnvironmentError: there is no source tree, or it does not compile.
    """
    compiler = (os.environ.get("CXX") or "g++").split()
    return _compile(compiler, ("counter", "instruction_class"), folder / "libcounter.so", "-O2")


def build_marks(folder: Path, compiler: str = "gcc") -> Path:
    """Compile the library of marks for aarch64, whose ``mfugaku_begin_region()`` and ``mfugaku_end_region()`` a program
    of any language can call.

    Raises:
        EnvironmentError: as :func:`build_counter`.
    """
    return _compile(find_cross_compiler(compiler), ("marks",), folder / "libmarks.so", "-O2 -nostdlib")


def _compile(compiler: Sequence[str], names: Sequence[str], output: Path, flags: str) -> Path:
    sources = [str(ROOT / "csrc" / "emulator" / f"{name}.cpp") for name in names]
    _run([*compiler, "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", *flags.split(), f"-I{ROOT / 'csrc'}",
          *sources, "-o", str(output)], f"{output.name} does not compile")
    return output


def build_bench(folder: Path, compiler: str = "gcc") -> Path:
    """Build ``csrc/bench`` with the kernels for aarch64 into a folder, by setup.py, and return the program.

    Raises:
        EnvironmentError: as :func:`build_counter`.
    """
    words = find_cross_compiler(compiler)
    if shutil.which("ccache"):
        words = ["ccache", *words]
    # setup.py's way of cross building; nothing here is Python's.
    env = os.environ | {"CXX": " ".join(words), "AR": "aarch64-linux-gnu-ar", "CXXFLAGS": "", "LDFLAGS": "",
                        "_PYTHON_HOST_PLATFORM": "linux-aarch64"}
    _run([sys.executable, "setup.py", "-q", "build_kernel_bench", "--output", str(folder)],
         "the benchmark's program does not compile", env)
    return folder / "kernel_bench"


def _run(command: Sequence[str], problem: str, env: Mapping[str, str] | None = None) -> None:
    if not (ROOT / "setup.py").is_file():
        raise EnvironmentError(f"{ROOT} has no setup.py", "what counts is built from the source tree",
                               "run this from a checkout", "mfugaku bench kernels")
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env, check=False)
        said = done.stdout + done.stderr if done.returncode else ""
    except FileNotFoundError as error:
        said = str(error)
    if said:
        raise EnvironmentError(f"{problem}: {said[-1000:].strip()}", "there is nothing to count with",
                               "look at what the compiler says", "mfugaku bench kernels")


def count_regions(counter: Path, command: Sequence[str | Path], root: Path | None = None,
                  env: Mapping[str, str] | None = None) -> tuple[str, list[Region]]:
    """Run an aarch64 program as on an A64FX and return what it printed and the regions that it marked, in order.

    Args:
        counter: what :func:`build_counter` has built.
        command: the program and its arguments. Only one thread may run within a region.
        root: folder with the system of aarch64 that a dynamically linked program is for.
        env: its environment, by default that of this process.

    Raises:
        EnvironmentError: there is no QEMU with plugins, or the program failed.
    """
    printed, lines = _count(counter, command, "", root, env)
    return printed, [Region(line["instructions"], line["classes"], tuple(map(_read_block, line["blocks"])))
                     for line in lines]


def count_threads(counter: Path, command: Sequence[str | Path], root: Path | None = None,
                  env: Mapping[str, str] | None = None) -> tuple[str, list[list[ThreadCount]]]:
    """As :func:`count_regions`, but of every region the threads that executed something in it."""
    printed, lines = _count(counter, command, ",mode=threads", root, env)
    return printed, [[ThreadCount(thread["instructions"], thread["fmas"]) for thread in line["threads"]]
                     for line in lines]


def _read_block(fields: Mapping) -> Block:
    text = fields["words"]
    words = tuple(int(text[i:i + 8], 16) for i in range(0, len(text), 8))
    return Block(fields["address"], fields["symbol"], fields["executions"], words)


def _count(counter: Path, command: Sequence[str | Path], mode: str, root: Path | None,
           env: Mapping[str, str] | None) -> tuple[str, list[dict]]:
    emulator = find_emulator()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "counts.jsonl")
        system = [] if root is None else ["-L", str(root)]
        words = [emulator, "-cpu", PROCESSOR, *system, "-plugin", f"{counter},out={out}{mode}", *map(str, command)]
        done = subprocess.run(words, capture_output=True, text=True, env=env, check=False)
        if done.returncode or not out.is_file():
            raise EnvironmentError(f"{Path(command[0]).name} in {EMULATOR} ended with {done.returncode}: "
                                   f"{done.stderr[-500:].strip()}", "there are no counts", "look at what it says",
                                   EMULATOR)
        return done.stdout, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
