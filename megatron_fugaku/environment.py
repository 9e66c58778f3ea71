"""Every environment variable that this package reads, with its type, default and meaning.

Room code reads them with :func:`get`; a ``MFUGAKU_*`` variable that is not in the table is an error, so that a
misspelt one is never silently ignored.
"""

from __future__ import annotations

import difflib
import enum
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.mpi_families import FAMILY_TITLES

PREFIX = "MFUGAKU_"


def parse_flag(text: str) -> bool:
    """Parse ``1 true yes on`` and ``0 false no off``; raise ValueError otherwise."""
    lowered = text.strip().lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


class Count(int):
    """A number of 0 or more; ValueError on text that is none."""

    def __new__(cls, text: str = "0") -> Count:
        """Read a number."""
        if not text.isdecimal() or len(text) > 8:
            raise ValueError(f"{text!r} is no number of 0 or more")
        return super().__new__(cls, text)


class Word(enum.Enum):
    """One of a few words, shown as users write it."""

    def __repr__(self) -> str:
        return repr(self.value)


class Transport(Word):
    """What carries collectives: shared memory within nodes and MPI between them, MPI, or uTofu between nodes."""

    AUTO = "auto"
    MPI = "mpi"
    UTOFU = "utofu"


class ArenaUse(Word):
    """Which tensors are made in the memory that the ranks of one node share."""

    OFF = "off"
    BUFFERS = "buffers"
    ALL = "all"


class NumBytes(int):
    """A number of bytes like ``4096``, ``512M`` or ``16G`` (powers of 1024); ValueError on others."""

    __slots__ = ()

    def __new__(cls, text: str = "0") -> NumBytes:
        """Parse the text."""
        match = re.fullmatch(r"(\d+)([KMGT]?)", text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no number of bytes like 4096, 512M or 16G")
        return super().__new__(cls, int(match[1]) << 10 * " KMGT".index(match[2] or " "))


class MpiFamily(str):
    """Nothing, or a family of MPI libraries for which the backend can be built; ValueError on others."""

    __slots__ = ()

    def __new__(cls, text: str = "") -> MpiFamily:
        """Check the name."""
        if text and text not in FAMILY_TITLES:
            raise ValueError(f"{text!r} is none of {', '.join(FAMILY_TITLES)}")
        return super().__new__(cls, text)


class AlgorithmRules(str):
    """Rules like ``all_reduce=ring,reduce_scatter:65536=lanes:2x3``, checked; ValueError on others."""

    __slots__ = ()
    _SHAPE = r":[1-9]\d{0,5}l?(x[1-9]\d{0,5}l?){0,5}"
    _BETWEEN_NODES = rf"ring|halving|swing({_SHAPE})?|lanes{_SHAPE}"
    _RULE = re.compile(r"(all|all_reduce|reduce_scatter|all_gather)(@\d{1,7})?(:\d{1,15})?"
                       rf"=(mpi|pieces|doubling|(hierarchical(:([2-9]|[1-9]\d{{1,5}}))?\+)?({_BETWEEN_NODES}))")

    def __new__(cls, text: str = "") -> AlgorithmRules:
        """Check the text of comma-separated rules."""
        for rule in filter(None, text.split(",")):
            if not cls._RULE.fullmatch(rule):
                raise ValueError(f"{rule!r} is not COLLECTIVE[@RANKS][:BYTES]=ALGORITHM with a collective all_reduce, "
                                 "reduce_scatter, all_gather or all, and an algorithm mpi, pieces, ring, doubling, "
                                 "halving, swing, swing:SHAPE or lanes:SHAPE, of which ring, halving, swing and lanes "
                                 "may stand behind hierarchical+ or hierarchical:RANKS_PER_NODE+")
        return super().__new__(cls, text)


class WireRules(str):
    """Rules like ``tensor=bf16,data=fp16``, checked; ValueError on others."""

    __slots__ = ()
    _RULE = re.compile(r"\w+=(fp32|bf16|fp16)")

    def __new__(cls, text: str = "") -> WireRules:
        """Check the text of comma-separated rules."""
        for rule in filter(None, text.split(",")):
            if not cls._RULE.fullmatch(rule):
                raise ValueError(f"{rule!r} is not GROUP=FORMAT with a GROUP tensor, data, all, or the description of "
                                 "a group, and a FORMAT fp32, bf16 or fp16")
        return super().__new__(cls, text)


@dataclass(frozen=True)
class Variable:
    """One environment variable: ``parse`` turns its text into a value and raises ValueError on bad text."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    doc: str


VARIABLES: dict[str, Variable] = {
    variable.name: variable
    for variable in (
        Variable("MFUGAKU_COMM_TIMEOUT_S", float, 1800.0,
                 "Seconds that a wait on the MPI backend may take before it raises."),
        Variable("MFUGAKU_COMM_TRACE", parse_flag, False, "Record every operation of the MPI backend from the start."),
        Variable("MFUGAKU_COMM_PROGRESS_THREAD", parse_flag, False, "Drive MPI progress from a thread of its own."),
        Variable("MFUGAKU_COMM_PROGRESS_CORE", int, -1,
                 "The core of that thread, as an assistant core of A64FX; naming one starts it; -1: any core."),
        Variable("MFUGAKU_COMM_TRANSPORT", Transport, Transport.AUTO,
                 "`auto`: ranks of one node exchange data through shared memory where they can; `mpi`: through MPI; "
                 "`utofu`: as `auto`, and schedules between nodes by uTofu (not yet run on the machine)."),
        Variable("MFUGAKU_COMM_ARENA", ArenaUse, ArenaUse.BUFFERS,
                 "What lies in memory that the ranks of a node share, so that their collectives need not copy it: "
                 "`buffers`, what asks for it, as the gradient buffers of `pretrain` do; `all`, every CPU tensor of "
                 "64 KiB and more, activations and DeepSpeed's buffers too; `off`, nothing."),
        Variable("MFUGAKU_COMM_ARENA_BYTES", NumBytes, NumBytes(),
                 "How much of that memory a rank may have, as in 16G; 0: what the machine has. Taken as it is used."),
        Variable("MFUGAKU_COMM_FLIGHT_DIR", str, "",
                 "Where every rank records its operations for `mfugaku xray`; empty: the run folder of `pretrain`."),
        Variable("MFUGAKU_COMM_ALGORITHM", AlgorithmRules, AlgorithmRules(),
                 "Algorithms of collectives between nodes, as in `all_reduce=ring,reduce_scatter:65536=lanes:2x3`; "
                 "alike on all ranks."),
        Variable("MFUGAKU_COMM_TABLE", str, "",
                 "Path of the rules that `mfugaku comm tune` measured, read by rank 0 for all ranks; those of "
                 "MFUGAKU_COMM_ALGORITHM come before them."),
        Variable("MFUGAKU_COMM_WIRE", WireRules, WireRules(),
                 "What sums of float32 vectors of 1 MiB and more travel as between nodes, as in "
                 "`tensor=bf16,data=fp16`; the first rule that fits a group; wins over `comm.wire_dtype`; alike on all "
                 "ranks."),
        Variable("MFUGAKU_COMM_RANKS_PER_NODE", Count, Count(),
                 "For tests: takes so many ranks in a row for a node of their own; 0: nodes are what they are."),
        Variable("MFUGAKU_COMM_PLACEMENT", str, "",
                 "The `placement.json` of the job: where its ranks stand on a torus, and the lanes of their groups. "
                 "Set by `mfugaku launch pjm`; alike on all ranks."),
        Variable("MFUGAKU_PRELOAD_MIN_BYTES", NumBytes, NumBytes(),
                 "The shortest vectors, in bytes of all blocks, that the library of `mfugaku comm preload` takes from "
                 "MPI; 0: those for which ours was faster when it was measured."),
        Variable("MFUGAKU_PRELOAD_REPORT", parse_flag, False,
                 "That library says on rank 0 before MPI_Finalize how many calls it served."),
        Variable("MFUGAKU_KEEP_FREED_MEMORY", parse_flag, True,
                 "Ranks keep the memory that they free for what they ask for next, instead of giving it back."),
        Variable("MFUGAKU_MPI", MpiFamily, MpiFamily(),
                 "Which build of the MPI backend to load, as in `mpich`; empty: that of the MPI which started the "
                 "process."),
        Variable("MFUGAKU_MPIRUN", str, "", "Path of the mpirun that `mfugaku launch local` uses; empty: found."),
        Variable("MFUGAKU_LAUNCH_ID", str, "", "Set by `mfugaku launch local` to know its own processes again."),
        Variable("MFUGAKU_CACHE", str, "~/.cache/mfugaku", "Where downloaded corpus packages are kept."),
        Variable("MFUGAKU_KERNELS", str, "",
                 "Forces instruction sets of compiled kernels, as in `reduce=neon,all=portable`; empty: the widest."),
        Variable("MFUGAKU_KERNEL_TESTS", str, "",
                 "Path of the kernels' C++ tests, when they are built already; empty: the tests build them."),
        Variable("MFUGAKU_COMM_TESTS", str, "",
                 "Path of the MPI backend's C++ tests, when they are built already; empty: the tests build them."),
        Variable("MFUGAKU_STRICT_PATCHES", parse_flag, False,
                 "An upstream source of unknown digest is an error, not a warning."),
    )
}


def get(name: str, environ: Mapping[str, str] | None = None) -> Any:
    """Return the parsed value of a declared variable, or its default.

    Raises:
        EnvironmentError: the text cannot be parsed.
        KeyError: ``name`` is not declared here.
    """
    variable = VARIABLES[name]
    text = (os.environ if environ is None else environ).get(name)
    if text is None:
        return variable.default
    try:
        return variable.parse(text)
    except ValueError as error:
        raise EnvironmentError(
            f"{name}={text!r} cannot be read as {variable.parse.__name__}: {error}",
            variable.doc,
            f"unset it or give it a value like {variable.default!r}",
            name,
        ) from error


def check_environment(environ: Mapping[str, str] | None = None) -> None:
    """Refuse unknown ``MFUGAKU_*`` variables and unreadable values.

    Raises:
        EnvironmentError: naming the first offending variable and the nearest known one.
    """
    source = os.environ if environ is None else environ
    for name in sorted(source):
        if not name.startswith(PREFIX):
            continue
        if name not in VARIABLES:
            near = difflib.get_close_matches(name, VARIABLES, n=1)
            raise EnvironmentError(
                f"{name} is set, but no such variable exists",
                "a misspelt setting would silently do nothing",
                f"did you mean {near[0]}?" if near else f"known are: {', '.join(sorted(VARIABLES))}",
                name,
            )
        get(name, source)
