"""Runs verbs of `mfugaku` one after the other in one process, whose imports take longest on an emulated processor.

argv[1] names a JSON file with the arguments of each, [["doctor"], ["patches", "check"]]. To argv[2] goes a JSON object:
`verbs`, the exit status and the output of each; `kernels`, the instruction set of each kernel; and `forced`, how it
ended when MFUGAKU_KERNELS asked for SVE: "" or the error.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from megatron_fugaku.cli import main
from megatron_fugaku.errors import EnvironmentError


def run_verb(arguments: list[str]) -> dict[str, int | str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(arguments)
    return {"status": status, "said": said.getvalue()}


def force_sve() -> str:
    """Choose SVE in a copy of this process, for which nothing has been chosen yet."""
    from megatron_fugaku.kernels.extension import describe_kernels

    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.environ["MFUGAKU_KERNELS"] = "all=sve"
        try:
            names = {choice.isa for choice in describe_kernels()}
            answer = "" if names == {"sve"} else f"chosen are {names}"
        except EnvironmentError as error:
            answer = str(error)
        os.write(write_end, answer.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        return answer.read()


def choose_kernels() -> dict[str, str]:
    from megatron_fugaku.kernels.extension import describe_kernels

    return {choice.op: choice.isa for choice in describe_kernels()}


outcome = {"forced": force_sve(), "kernels": choose_kernels()}
outcome["verbs"] = [run_verb(arguments) for arguments in json.loads(Path(sys.argv[1]).read_text())]
Path(sys.argv[2]).write_text(json.dumps(outcome))
