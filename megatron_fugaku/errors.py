"""Errors that a user can act on, one exit code each.

Every message has the form ``<what happened, with values>. <why it matters>. <what to do>. [config key or command]``.
An exception of these classes ends a command with its message alone; any other exception is a fault of ours and
ends it with a traceback.
"""

from __future__ import annotations

import re

# First words that are commands or names: a capital letter would make them something else.
_COMMANDS = frozenset(("pip", "apt", "make", "mpirun", "srun", "mfugaku"))


def _end(part: str) -> str:
    return part if part.endswith(("?", "!")) else part.rstrip(".") + "."


def _sentence(part: str) -> str:
    word = re.match(r"[a-z]+(?=[ ,])", part)
    capital = word is not None and word[0] not in _COMMANDS
    return _end(part[0].upper() + part[1:] if capital else part)


class MegatronFugakuError(Exception):
    """Base of the errors a user can act on.

    Args:
        what: what happened, with the values.
        why: why it matters.
        fix: what to do about it.
        where: the config key, file or command concerned; printed in brackets.
    """

    exit_code = 1

    def __init__(self, what: str, why: str = "", fix: str = "", where: str = ""):
        sentences = [_end(what), *(_sentence(part) for part in (why, fix) if part)]
        super().__init__(" ".join(sentences) + (f" [{where}]" if where else ""))
        self.what, self.why, self.fix, self.where = what, why, fix, where

    def __reduce__(self):
        return type(self), (self.what, self.why, self.fix, self.where)


class ConfigError(MegatronFugakuError):
    """A run configuration that cannot be run."""

    exit_code = 2


class EnvironmentError(MegatronFugakuError):
    """Something that the machine lacks: a library, an instruction set, an MPI, memory."""

    exit_code = 3


class PlanError(MegatronFugakuError):
    """A layout, rank map or topology that does not fit."""

    exit_code = 4


class PatchError(MegatronFugakuError):
    """A patch that does not fit the installed upstream."""

    exit_code = 5


class CommError(MegatronFugakuError):
    """The MPI backend could not start, or an operation failed or timed out."""

    exit_code = 6


class DataError(MegatronFugakuError):
    """A corpus, tokenizer or token file that is missing or unusable."""

    exit_code = 7


class CheckpointError(MegatronFugakuError):
    """A checkpoint that is missing, incomplete or does not fit the model."""

    exit_code = 8


class LaunchError(MegatronFugakuError):
    """A job that could not be started or that ended because a rank died."""

    exit_code = 9


class TrainingError(MegatronFugakuError):
    """Training that cannot go on: a loss that is not finite, a step that failed."""

    exit_code = 10
