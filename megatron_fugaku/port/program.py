"""Runs a script or a module as ``python`` would, with the patches of the port layer in place.

Patches are applied when what they change is first imported, so a program pays for what it uses and nothing else. The
environment has what launchers for GPUs put there, process groups asked for as ``nccl`` or ``gloo`` are of the MPI
backend, and the word "cuda" is answered by the CPU.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_fugaku import comm, patches
from megatron_fugaku.comm.names import answer_to
from megatron_fugaku.comm.registration import set_rendezvous
from megatron_fugaku.errors import ConfigError, PatchError
from megatron_fugaku.freed_memory import keep_freed_memory
from megatron_fugaku.patches.cuda_names import enter_cuda_devices
from megatron_fugaku.patches.noise import silence_upstream
from megatron_fugaku.patches.upstreams import upstreams_at
from megatron_fugaku.port.cuda_only import explain_cuda_error

#: What launchers for GPUs set. Megatron asks for one connection per device where collectives overlap.
_ENVIRONMENT = {"CUDA_DEVICE_MAX_CONNECTIONS": "1", "DS_ACCELERATOR": "cpu"}


def patch() -> None:
    """Prepare this process for programs that were written for GPUs. Idempotent; call it before they are imported.

    Every rank of an MPI job calls it: MPI starts here, and the ranks agree on MASTER_ADDR and MASTER_PORT.

    Raises:
        PatchError: what is imported already does not fit a patch.
        CommError: MPI cannot start.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    silence_upstream()
    comm.install_excepthook()
    keep_freed_memory()
    set_rendezvous()
    answer_to("nccl", "gloo")
    patches.patch_on_import()
    enter_cuda_devices()


@dataclass(frozen=True)
class Program:
    """What to run: the path of a script, or the name of a module, and its arguments."""

    name: str
    arguments: Sequence[str] = ()
    is_module: bool = False

    def check(self) -> None:
        """Refuse what does not exist.

        Raises:
            ConfigError: there is no such script or module.
        """
        if self.is_module:
            if importlib.util.find_spec(self.name.partition(".")[0]) is None:
                raise ConfigError(f"there is no module {self.name}", "nothing can be run",
                                  "install it, or start in the folder that has it", f"-m {self.name}")
        elif not Path(self.name).is_file():
            raise ConfigError(f"there is no script {self.name}", "nothing can be run", "give the path of a Python file",
                              self.name)


@contextlib.contextmanager
def _as_main(program: Program) -> Iterator[None]:
    """Let argv and the import path be those of ``python SCRIPT ARGUMENTS`` or ``python -m MODULE ARGUMENTS``. A tool of
    a checkout imports the checkout's own ``megatron``, not one of another version that is installed."""
    argv, path = list(sys.argv), list(sys.path)
    sys.argv[:] = [program.name, *program.arguments]
    if program.is_module:
        sys.path.insert(0, os.getcwd())
    else:
        parents = Path(program.name).resolve().parents
        checkouts = [parent for parent in parents[1:] if upstreams_at(parent)]
        sys.path[:0] = map(str, [parents[0], *checkouts[:1]])
    try:
        yield
    finally:
        sys.argv[:], sys.path[:] = argv, path


def run_program(program: Program) -> None:
    """Run a program on this rank, as ``__main__``; its own exit passes through.

    Raises:
        ConfigError: there is no such program.
        PatchError: a patch does not fit, or the program calls something of CUDA that nothing answers: which, and where.
        Exception: whatever the program raises.
    """
    program.check()
    with _as_main(program):
        patch()
        try:
            if program.is_module:
                runpy.run_module(program.name, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(program.name, run_name="__main__")
        except (AssertionError, AttributeError, RuntimeError) as error:
            explanation = explain_cuda_error(error)
            if explanation is None:
                raise
            raise PatchError(*explanation) from error
