"""Collectives of the MPI backend on simulated networks: SimGrid's SMPI runs the core's own schedules and executor.

``mfugaku bench smpi`` builds the program, writes a platform for each case and prints how much of what
the links allow an algorithm reaches. Results are checked on every rank. Two networks are told apart: *fluid*, where
only the links' bandwidth and a latency per hop count, and one with *overheads*, where every message costs its sender
and its receiver time and reductions pass through memory. Both are models; no figure here is a measurement.

Links, latencies and network interfaces are those of Tofu-D (``plan/tofu.py`` has the sources).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from megatron_fugaku.bench.records import Record, render_columns
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.plan.tofu import HOP_S, LINK_BYTES_PER_S, NUM_INTERFACES

ROOT = Path(__file__).resolve().parents[2]
#: SMPI's own model of TCP is switched off: bandwidth is shared fairly, and nothing else takes time.
FLUID = ("smpi/simulate-computation:no", "smpi/bw-factor:0:1", "smpi/lat-factor:0:1", "network/TCP-gamma:0",
         "network/crosstraffic:0", "smpi/privatization:no", "contexts/stack-size:256",
         "smpi/tmpdir:{tmp}")


@dataclass(frozen=True)
class Overheads:
    """Seconds of CPU per message on either side, and the speed at which reductions read and write memory."""

    message_s: float = 0.5e-6
    memory_bytes_per_s: float = 800e9

    def settings(self) -> tuple[str, ...]:
        """Return SMPI's settings."""
        return tuple(f"smpi/{name}:0:{self.message_s}:0" for name in ("os", "ois", "or"))


@dataclass(frozen=True)
class Case:
    """One collective on one torus.

    Attributes:
        torus: shape as ``MFUGAKU_COMM_ALGORITHM`` has it; an ``l`` marks a dimension whose ends are not linked.
        num_bytes: of the whole vector, as the name of the case says it.
        num_segments: that follow each other through a lane or a ring; 0: as many as the backend would choose.
        scale: by how much the vector and the bandwidth are divided, to save memory; times stay the same.
    """

    name: str
    torus: str
    num_bytes: int
    collective: str = "all_reduce"
    algorithm: str = "lanes"
    num_segments: int = 0
    scale: int = 1

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Lengths of the torus of ranks."""
        return tuple(int(part.rstrip("l")) for part in self.torus.split("x"))

    @property
    def machine(self) -> tuple[int, ...]:
        """Lengths of the torus of nodes: where ranks stand in a line, the machine goes on behind its end."""
        return tuple(int(part.rstrip("l")) * (2 if part.endswith("l") else 1) for part in self.torus.split("x"))

    @property
    def num_ranks(self) -> int:
        """Ranks, one per node."""
        return prod(self.dimensions)

    @property
    def num_ports(self) -> int:
        """Directions of links that a rank has, as far as its network interfaces can serve them."""
        ports = sum(2 if length > 2 and not part.endswith("l") else 1
                    for part, length in zip(self.torus.split("x"), self.dimensions, strict=True) if length > 1)
        return min(ports, NUM_INTERFACES)

    @property
    def count(self) -> int:
        """Elements of float32 in the simulated vector, in equal blocks."""
        return self.num_bytes // self.scale // 4 // self.num_ranks * self.num_ranks

    @property
    def lower_bound_s(self) -> float:
        """The least time in which links of this torus can carry it: every rank sends its share through all of them."""
        passes = 2 if self.collective == "all_reduce" else 1
        num_bytes = self.count * 4 * self.scale
        return passes * num_bytes * (self.num_ranks - 1) / self.num_ranks / self.num_ports / LINK_BYTES_PER_S


#: TP 6 of the 13B run on the 2x3 nodes of a unit, DP 288 on 24x12 of its nodes, and cubes. SimGrid's time grows with
#: the messages under way together: TP 6 takes it seconds, DP 288 half a minute, 512 ranks four minutes.
CASES = (
    Case("TP 6", "2x3", 42_467_328),
    Case("TP 6", "2x3", 42_467_328, "reduce_scatter"),
    Case("TP 6", "2x3", 42_467_328, "all_gather"),
    Case("TP 6", "2x3", 42_467_328, algorithm="ring"),
    Case("TP 6", "2x3", 42_467_328, algorithm="mpi"),
    Case("64", "4x4x4", 104_857_600, scale=10),
    Case("64", "4x4x4", 104_857_600, "reduce_scatter", scale=10),
    Case("64", "4x4x4", 104_857_600, "all_gather", scale=10),
    Case("DP 288", "24x12l", 1_075_000_000, num_segments=8, scale=100),
    Case("DP 288", "24x12l", 1_075_000_000, "reduce_scatter", num_segments=8, scale=100),
    Case("DP 288", "24x12l", 1_075_000_000, "all_gather", num_segments=8, scale=100),
    Case("512", "8x8x8", 104_857_600, num_segments=4, scale=100),
)

#: Shares of the bound that lanes are to reach in the groups of the 13B run.
JUDGED, LEAST_SHARE, LEAST_SHARE_WITH_OVERHEADS = ("TP 6", "DP 288"), 0.99, 0.93


@dataclass
class Simulator:
    """The built program, and what it takes to run it."""

    program: Path
    overheads: Overheads | None = None
    timeout_s: float = 600
    settings: tuple[str, ...] = field(default=FLUID)

    def run(self, case: Case) -> float:
        """Return the simulated seconds of a case, all of whose results were right.

        Raises:
            EnvironmentError: SMPI ended without an answer.
            AssertionError: a rank had a wrong result.
        """
        with tempfile.TemporaryDirectory() as folder:
            platform, hosts = write_platform(Path(folder), case)
            settings = [*self.settings, *(self.overheads.settings() if self.overheads else ())]
            command = [
                "smpirun", *(f"--cfg={setting.format(tmp=folder)}" for setting in settings), "-np", str(case.num_ranks),
                "-platform", str(platform), "-hostfile", str(hosts), str(self.program),
                f"--collective={case.collective}", f"--algorithm={case.algorithm}", f"--count={case.count}",
                f"--segments={case.num_segments}", f"--scale={case.scale}", f"--torus={case.torus}",
                f"--max-ports={NUM_INTERFACES}",
            ]
            if self.overheads:
                command.append(f"--memory={self.overheads.memory_bytes_per_s / case.scale}")
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=self.timeout_s,
                                  check=False)
        answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not answers:
            raise EnvironmentError(f"smpirun of {case.name} ended with {done.returncode}: {done.stderr[-500:].strip()}",
                                   "there is no simulated time", "look at what it says", "smpirun")
        answer = json.loads(answers[0])
        assert answer["wrong"] == 0, f"{case}: {answer['wrong']} wrong elements"
        return answer["time_s"]


def write_platform(folder: Path, case: Case) -> tuple[Path, Path]:
    """Write SimGrid's platform and host file of a case; the first dimension runs fastest in both numberings."""
    machine, num_nodes = case.machine, prod(case.machine)
    platform, hosts = folder / "platform.xml", folder / "hosts"
    platform.write_text(
        "<?xml version='1.0'?>\n<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
        '<platform version="4.1">\n <zone id="world" routing="Full">\n'
        f'  <cluster id="torus" topology="TORUS" topo_parameters="{",".join(map(str, machine))}" prefix="node-" '
        f'radical="0-{num_nodes - 1}" suffix="" speed="1Gf" bw="{LINK_BYTES_PER_S / case.scale:.0f}Bps" '
        f'lat="{HOP_S}s" sharing_policy="SPLITDUPLEX"/>\n </zone>\n</platform>\n'
    )
    lines = []
    for rank in range(case.num_ranks):
        node, stride = 0, 1
        for length, nodes in zip(case.dimensions, machine, strict=True):
            node += rank % length * stride
            rank, stride = rank // length, stride * nodes
        lines.append(f"node-{node}\n")
    hosts.write_text("".join(lines))
    return platform, hosts


def build_simulator(folder: Path) -> Path:
    """Build the program into a folder and return it.

    Raises:
        EnvironmentError: SimGrid or the source tree is missing, or it does not compile.
    """
    if shutil.which("smpicxx") is None or shutil.which("smpirun") is None:
        raise EnvironmentError("SimGrid is not installed: smpicxx and smpirun are not on PATH",
                               "the network is simulated with it", "install it (Debian: apt install libsimgrid-dev)",
                               "smpicxx")
    if not (ROOT / "setup.py").is_file():
        raise EnvironmentError(f"{ROOT} has no setup.py", "the simulator is built from the source tree",
                               "run this from a checkout", "megatron_fugaku.bench.smpi")
    done = subprocess.run([sys.executable, "setup.py", "-q", "build_simulator", "--output", str(folder)], cwd=ROOT,
                          capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        raise EnvironmentError(f"the simulator does not compile: {(done.stdout + done.stderr)[-1000:].strip()}",
                               "there is nothing to simulate with", "look at what the compiler says", "smpicxx")
    return folder / "simulate"


def compare(case: Case, time_s: float, has_overheads: bool = False) -> Record:
    """Return the record of a simulated case against what the links allow; the 13B run's own groups have a target."""
    megabytes = case.num_bytes / 1e6
    model = "with overheads" if has_overheads else "fluid"
    is_judged = case.algorithm == "lanes" and case.name in JUDGED
    target = (LEAST_SHARE_WITH_OVERHEADS if has_overheads else LEAST_SHARE) if is_judged else None
    return Record("smpi", f"{case.collective} {case.algorithm} {case.torus} ({case.name}) {megabytes:,.1f} MB {model}",
                  "simulated_time", time_s, "s", "bound of the links", case.lower_bound_s, target)


def render_table(records: list[Record]) -> str:
    """Return simulated times and shares of the bound as text."""
    return render_columns(
        ["simulated, not measured", "time", "bound", "share", "target"],
        [[record.case, *(f"{seconds * 1e3:.3f} ms" for seconds in (record.value, record.peer_value)),
          f"{100 * record.ratio:.1f} %",
          "-" if record.target is None else f"{'' if record.ok else '! '}{100 * record.target:.0f} %"]
         for record in records],
    )


def simulate(names: tuple[str, ...] = (), has_overheads: bool = False) -> list[Record]:
    """Build the program and run the cases of these names, or all.

    Raises:
        EnvironmentError: SimGrid or the source tree is missing, or a simulation fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        simulator = Simulator(build_simulator(Path(folder)), Overheads() if has_overheads else None)
        return [compare(case, simulator.run(case), has_overheads) for case in CASES if not names or case.name in names]
