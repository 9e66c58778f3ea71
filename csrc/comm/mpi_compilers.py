"""Which MPI compilers setup.py builds for, and what they say of their libraries. setup.py loads it by its path."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "megatron_fugaku"
MPI_COMPILERS = ("mpicxx", "mpic++", "mpiFCC")
MPI_FLAGS = ("-I", "-isystem", "-D", "-L", "-l", "-Wl,", "-pthread")


def find_mpi_compilers() -> list[list[str]]:
    """Return the words of each MPI C++ compiler to build for: those of MPICXX, else PATH's and this Python's."""
    if os.environ.get("MPICXX"):
        chosen = [shlex.split(entry) for entry in os.environ["MPICXX"].split(":") if entry.strip()]
        for words in chosen:
            if shutil.which(words[0]) is None:
                raise SystemExit(f"MPICXX={words[0]!r} is not an executable. Set MPICXX to an MPI C++ compiler, or to "
                                 "several with colons between them, or unset it.")
        return chosen
    found = [next((path for name in MPI_COMPILERS if (path := shutil.which(name))), None),
             shutil.which("mpicxx", path=str(Path(sys.executable).parent))]
    return [[path] for path in dict.fromkeys(filter(None, found))]


def find_mpi_family(compiler: list[str], linker: list[str]) -> str:
    """Return the name of the binary interface of an MPI compiler's library, from what a linked program asks for.

    Args:
        compiler: words of the MPI compiler.
        linker: words of the compiler that links the program, CXX.
    """
    elf, families = (runpy.run_path(str(PACKAGE / name)) for name in ("elf.py", "mpi_families.py"))
    _, libraries = ask_mpi_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "asks.cpp"), Path(folder, "asks.so")
        source.write_text('extern "C" int MPI_Finalize(void);\nint ask() { return MPI_Finalize(); }\n')
        done = subprocess.run([*linker, "-shared", "-fPIC", source, "-o", program, *libraries,
                               *shlex.split(os.environ.get("LDFLAGS", ""))],
                              capture_output=True, text=True, check=False)
        needed = elf["read_library"](program).needed if done.returncode == 0 else ()
    found = [name for name in needed if re.match(r"libmpi(ch|_abi)?\.so", name)]
    if not found:
        raise SystemExit(f"{' '.join(compiler)} names no MPI library that a program can be linked with. Set MPICXX to "
                         f"an MPI C++ compiler whose MPI is whole. {done.stderr.strip()}")
    return families["FAMILIES"].get(found[0], re.sub(r"\W", "_", found[0]))


def ask_mpi_compiler(compiler: list[str]) -> tuple[list[str], list[str]]:
    """Return the compile and link flags of an MPI compiler: Open MPI's and Fujitsu's way first, then MPICH's.

    Only folders, names, libraries and definitions are taken: what else it says is for its own compiler, not for CXX.
    """
    for options in (("-showme:compile", "-showme:link"), ("-compile_info", "-link_info")):
        answers = [subprocess.run([*compiler, option], capture_output=True, text=True, check=False)
                   for option in options]
        if all(answer.returncode == 0 for answer in answers):
            return tuple([word for word in shlex.split(answer.stdout) if word.startswith(MPI_FLAGS)]
                         for answer in answers)
    raise SystemExit(f"{' '.join(compiler)} tells its flags neither with -showme:compile nor with -compile_info. Set "
                     "MPICXX to an MPI C++ compiler that does.")
