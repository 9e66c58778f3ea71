"""``mfugaku bench step``: whole training steps of one process, ours against megatron-core on torch's own operators and
against Hugging Face transformers.

Every contender has a process of its own, and they take turns: one does a step while the others wait. Of each the least
time of all rounds counts, which on a machine that does other work too is what repeats best.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from megatron_fugaku.bench.records import Record, render_columns
from megatron_fugaku.bench.step_shape import MEGATRON, OURS, TRANSFORMERS, StepShape
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.launch.machine import find_cores

#: The least ratio of tokens per second to the better of the peers.
TARGETS = {"fp32": 1.5, "bf16": 3.0}
NUM_ROUNDS = 3


@dataclass(frozen=True)
class Steps:
    """The steps of one contender: seconds each, without the first, and all losses."""

    contender: str
    seconds: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Outcome:
    """All contenders' steps of one shape; ``absent`` says who could not take part and why."""

    shape: StepShape
    steps: tuple[Steps, ...]
    absent: tuple[str, ...] = ()


class _Contender:
    """A process that does a step when told to."""

    def __init__(self, name: str, shape: StepShape):
        self.name = name
        self.answers: list[dict] = []
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (a pipe that nobody reads would fill)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "megatron_fugaku.bench.step_worker", name,
             json.dumps(asdict(shape))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(shape.num_threads), "TOKENIZERS_PARALLELISM": "false"})

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            last = next((part for part in reversed(self._said.read().splitlines()) if part), "it says nothing")
            raise EnvironmentError(f"{self.name} ended with code {self._process.returncode}: {last}",
                                   "there is nothing to compare", "see what `mfugaku doctor` says of this machine",
                                   "mfugaku bench step")
        return json.loads(line)

    def wait_until_ready(self) -> None:
        self._read()

    def step(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # what it died of is said by the read
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        self.answers.append(self._read())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def steps(self) -> Steps:
        return Steps(self.name, tuple(answer["wall_s"] for answer in self.answers[1:]),
                     tuple(answer["loss"] for answer in self.answers))


@contextlib.contextmanager
def _started(names: Iterable[str], shape: StepShape) -> Iterator[list[_Contender]]:
    contenders: list[_Contender] = []
    try:
        for name in names:  # one after the other: building a model takes all cores too
            contenders.append(_Contender(name, shape))
            contenders[-1].wait_until_ready()
        yield contenders
    finally:
        for contender in contenders:
            contender.close()


def measure(shape: StepShape, num_rounds: int = NUM_ROUNDS) -> Outcome:
    """Return the steps of all contenders that can take part here, after one each that is not counted.

    Raises:
        EnvironmentError: a contender failed.
    """
    names, absent = [OURS, MEGATRON], ()
    if importlib.util.find_spec("transformers") is not None:
        names.append(TRANSFORMERS)
    else:
        absent = (f"{TRANSFORMERS}: not installed (pip install 'megatron-fugaku[bench]')",)
    with _started(names, shape) as contenders:
        for number in range(num_rounds + 1):
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                contender.step()
        return Outcome(shape, tuple(contender.steps() for contender in contenders), absent)


def choose_shape(precision: str, num_threads: int | None = None) -> StepShape:
    """Return the model that is measured; without ``num_threads``, on one thread for each core that may be used."""
    return StepShape(precision=precision, num_threads=num_threads or find_cores().num_usable)


def compare(outcome: Outcome) -> list[Record]:
    """Return a record against every peer; the target is set against the fastest of them."""
    ours, *peers = outcome.steps
    fastest = min(peers, key=lambda steps: min(steps.seconds))
    return [Record("step", outcome.shape.describe(), "time_per_token", 1e6 * min(ours.seconds) /
                   outcome.shape.num_tokens, "us", peer.contender, 1e6 * min(peer.seconds) / outcome.shape.num_tokens,
                   TARGETS[outcome.shape.precision] if peer is fastest else None) for peer in peers]


def render_report(outcome: Outcome, records: Iterable[Record]) -> str:
    """Return the tokens per second of all, how many times faster ours is, and the losses of the first and last step,
    by which one sees that all train the same."""
    ratio_of = {record.peer: record for record in records}
    rows = []
    for steps in outcome.steps:
        record = ratio_of.get(steps.contender)
        rows.append((steps.contender, f"{min(steps.seconds):.2f}",
                     f"{outcome.shape.num_tokens / min(steps.seconds):,.0f}", f"{record.ratio:.2f}" if record else "",
                     f"{record.target:g}{'' if record.ok else ' missed'}" if record and record.target else "",
                     f"{steps.losses[0]:.2f}", f"{steps.losses[-1]:.2f}"))
    header = ("who", "s per step", "tokens/s", "ours is faster", "target", "first loss", "last loss")
    return "\n".join((outcome.shape.describe(), render_columns(header, rows) +
                      "".join(f"absent: {line}\n" for line in outcome.absent)))
