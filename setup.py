"""Builds the C++ extensions and says what was built.

``megatron_fugaku.comm._mpi``, the MPI backend of torch.distributed, is built when an MPI compiler is found:
``$MPICXX``, else ``mpicxx``, ``mpic++`` or ``mpiFCC`` on PATH. Without one the package installs all the same and says
so. Build with ``pip install --no-build-isolation .`` so that the extension is compiled against the torch that will
load it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
MPI_COMPILERS = ("mpicxx", "mpic++", "mpiFCC")


def find_mpi_compiler() -> str | None:
    """Return the MPI C++ compiler to use, or None."""
    chosen = os.environ.get("MPICXX")
    if chosen:
        found = shutil.which(shlex.split(chosen)[0])
        if found is None:
            raise SystemExit(f"MPICXX={chosen!r} is not an executable. Set it to an MPI C++ compiler, or unset it.")
        return found
    return next(filter(None, map(shutil.which, MPI_COMPILERS)), None)


def ask_mpi_compiler(compiler: str) -> tuple[list[str], list[str]]:
    """Return the compile and link flags of an MPI compiler: Open MPI's and Fujitsu's way first, then MPICH's."""
    for compile_option, link_option, words_to_skip in (
        ("--showme:compile", "--showme:link", 0),
        ("-compile_info", "-link_info", 1),
    ):
        answers = [
            subprocess.run([compiler, option], capture_output=True, text=True, check=False)
            for option in (compile_option, link_option)
        ]
        if all(answer.returncode == 0 for answer in answers):
            compile_flags, link_flags = (shlex.split(answer.stdout)[words_to_skip:] for answer in answers)
            return compile_flags, link_flags
    raise SystemExit(f"{compiler} tells its flags neither with --showme:compile nor with -compile_info.")


def build_mpi_extension():
    """Return the extension of the MPI backend, or None when there is no MPI compiler."""
    compiler = find_mpi_compiler()
    if compiler is None:
        return None
    from torch.utils.cpp_extension import CppExtension

    compile_flags, link_flags = ask_mpi_compiler(compiler)
    libraries = [flag for flag in link_flags if flag != "-lmpi_cxx"]  # the C++ bindings that MPI-3 removed
    rpaths = [f"-Wl,-rpath,{flag[2:]}" for flag in libraries if flag.startswith("-L")]
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc" / "comm").rglob("*.cpp"))
    return CppExtension(
        "megatron_fugaku.comm._mpi",
        sources,
        include_dirs=[str(ROOT / "csrc" / "comm")],
        extra_compile_args=[
            "-O3",
            "-g0",
            "-Wall",
            "-fvisibility=hidden",
            "-DOMPI_SKIP_MPICXX",
            "-DMPICH_SKIP_MPICXX",
            f"-DMFUGAKU_MPI_COMPILER={compiler}",
            *compile_flags,
        ],
        extra_link_args=[*libraries, *rpaths],
    )


def main() -> None:
    """Set up the package."""
    wants_build = any(word.startswith(("build", "bdist", "develop", "editable", "install")) for word in sys.argv[1:])
    extensions, commands = [], {}
    if wants_build:
        try:
            import torch
            from torch.utils.cpp_extension import BuildExtension
        except ImportError as error:
            raise SystemExit(
                f"The extensions are compiled against torch, which cannot be imported here ({error}). "
                "Install torch first, then run: pip install --no-build-isolation ."
            ) from error
        extension = build_mpi_extension()
        report = [f"torch {torch.__version__}"]
        if extension is not None:
            extensions, commands = [extension], {"build_ext": BuildExtension}
            report.append(f"megatron_fugaku.comm._mpi: built with {find_mpi_compiler()}")
        else:
            report.append(
                "megatron_fugaku.comm._mpi: NOT built, because none of "
                f"{', '.join(MPI_COMPILERS)} is on PATH and MPICXX is not set; torch.distributed will have no MPI. "
                "Install an MPI (Debian: apt install libopenmpi-dev openmpi-bin) and install this package again."
            )
        print("\n".join(["megatron-fugaku build:", *(f"  {line}" for line in report)]), flush=True)
    setup(ext_modules=extensions, cmdclass=commands)


main()
