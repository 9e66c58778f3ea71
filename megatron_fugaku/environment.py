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


class Transport(enum.Enum):
    """What carries the collectives of ranks on one node."""

    AUTO = "auto"
    MPI = "mpi"

    def __repr__(self) -> str:
        return repr(self.value)


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
    _RULE = re.compile(r"(all|all_reduce|reduce_scatter|all_gather)(:\d{1,15})?"
                       r"=(mpi|pieces|ring|doubling|halving|lanes:[1-9]\d{0,5}l?(x[1-9]\d{0,5}l?){0,5})")

    def __new__(cls, text: str = "") -> AlgorithmRules:
        """Check the text of comma-separated rules."""
        for rule in filter(None, text.split(",")):
            if not cls._RULE.fullmatch(rule):
                raise ValueError(f"{rule!r} is not COLLECTIVE[:BYTES]=ALGORITHM with a collective all_reduce, "
                                 "reduce_scatter, all_gather or all, and an algorithm mpi, pieces, ring, doubling, "
                                 "halving or lanes:SHAPE")
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
        Variable("MFUGAKU_COMM_TRANSPORT", Transport, Transport.AUTO,
                 "`auto`: ranks of one node exchange data through shared memory where they can; `mpi`: through MPI."),
        Variable("MFUGAKU_COMM_FLIGHT_DIR", str, "",
                 "Where every rank records its operations for `mfugaku xray`; empty: the run folder of `pretrain`."),
        Variable("MFUGAKU_COMM_ALGORITHM", AlgorithmRules, AlgorithmRules(),
                 "Algorithms of collectives between nodes, as in `all_reduce=ring,reduce_scatter:65536=lanes:2x3`; "
                 "alike on all ranks."),
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
