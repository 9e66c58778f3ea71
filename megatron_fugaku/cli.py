"""``mfugaku <verb>``: finds the verb's module, imports only that one, and turns errors into exit codes.

Kept on argparse because ``mfugaku pretrain`` is started on every rank of a job: its imports are paid for
thousands of times.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from megatron_fugaku import __version__
from megatron_fugaku.environment import check_environment
from megatron_fugaku.errors import CommError, MegatronFugakuError
from megatron_fugaku.processor import check_processor

VERBS = {
    "data": "build a corpus, train a tokenizer, write Megatron .bin/.idx token files",
    "pretrain": "train a model from one YAML file; start it under mpirun or srun",
    "run": "run a script or module that was written for GPUs, unmodified; start it under mpirun or srun",
    "plan": "lay the ranks of a run on a torus of nodes, and write the files that put them there",
    "launch": "start a run on this machine, or write its job folder for PJM or Slurm",
    "generate": "continue a prompt with a checkpoint",
    "report": "write the HTML report of a run folder",
    "bench": "measure this machine, ours against the peers",
    "comm": "show which algorithm carries a collective",
    "xray": "say which ranks of a run wait where, and who is missing",
    "doctor": "say what this machine has and what is missing",
    "patches": "list, explain and check the patches that the port layer applies to upstream",
}


# An error that every rank meets is said once, by rank 0, whose end ends the job; the others wait so long before they
# say it too, in case that they alone met it.
OTHER_RANKS_WAIT_S = 6.0


class OverridesParser(argparse.ArgumentParser):
    """Accepts ``KEY=VALUE`` arguments after options too, where argparse by itself stops taking positional ones."""

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's, with late overrides moved to where the early ones are, for verbs that take any."""
        namespace, extras = super().parse_known_args(args, namespace)
        if not hasattr(namespace, "overrides"):
            return namespace, extras
        late = [text for text in extras if "=" in text and not text.startswith("-")]
        namespace.overrides = [*namespace.overrides, *late]
        return namespace, [text for text in extras if text not in late]


def _let_rank_0_speak_first() -> None:
    comm = sys.modules.get("megatron_fugaku.comm")  # loaded by the verbs that run on many ranks
    if comm is not None and comm.rank_info().rank:
        time.sleep(OTHER_RANKS_WAIT_S)


def _is_comm_failure(error: Exception) -> bool:
    """Whether torch.distributed raised it: a timeout, a rank that is gone, an MPI call that failed."""
    distributed = sys.modules.get("torch.distributed")
    return isinstance(error, getattr(distributed, "DistError", ()))


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; only ``verb``'s own module is imported, the other verbs are names with a help line."""
    parser = argparse.ArgumentParser(prog="mfugaku", description="LLM training on CPU supercomputers.")
    parser.add_argument("--version", action="version", version=f"mfugaku {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=OverridesParser)
    for name, help_line in VERBS.items():
        child = verbs.add_parser(name, help=help_line, description=help_line)
        if name == verb:
            importlib.import_module(f"megatron_fugaku.commands.{name}").configure(child)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    verb = argv[0] if argv and argv[0] in VERBS else None
    try:
        if verb not in (None, "doctor"):  # the doctor says what else the machine has
            check_processor()
        args = build_parser(verb).parse_args(argv)
        check_environment()
        return importlib.import_module(f"megatron_fugaku.commands.{args.verb}").run(args) or 0
    except MegatronFugakuError as error:
        _let_rank_0_speak_first()
        print(f"mfugaku {verb}: error: {error}", file=sys.stderr)
        return error.exit_code
    except RuntimeError as error:
        if not _is_comm_failure(error):
            raise
        print(f"mfugaku {verb}: error: {error}", file=sys.stderr)
        return CommError.exit_code
    except KeyboardInterrupt:
        print(f"mfugaku {verb}: interrupted", file=sys.stderr)
        return 130
