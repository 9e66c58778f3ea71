"""Collectives of the MPI backend on simulated networks: SimGrid's SMPI runs the core's own schedules and executor.

``mfugaku bench smpi`` builds the program, describes a network for each case and prints how much of what
the links allow an algorithm reaches. Results are checked on every rank. Two networks are told apart: *fluid*, where
only the links' bandwidth and a latency per hop count, and one with *overheads*, where every message costs its sender
and its receiver time, reductions pass through memory, a node sends and receives no more than its interfaces were
measured to, and a message to a neighbour takes as long as a put was measured to. Both are models; no figure here is a
measurement.

Links, latencies and network interfaces are those of Tofu-D (``plan/tofu.py`` has the sources).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from math import inf, prod
from pathlib import Path

from megatron_fugaku.bench.records import Record, render_columns
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.plan.tofu import HOP_S, INJECTION_BYTES_PER_S, LINK_BYTES_PER_S, NUM_INTERFACES, PUT_S

ROOT = Path(__file__).resolve().parents[2]
#: SMPI's own model of TCP is switched off: bandwidth is shared fairly, and nothing else takes time. Short messages go
#: as long ones do: detached ones SimGrid keeps in lists that it searches, which makes a simulation half as fast.
FLUID = ("smpi/simulate-computation:no", "smpi/bw-factor:0:1", "network/TCP-gamma:0",
         "network/crosstraffic:0", "smpi/privatization:no", "contexts/stack-size:256",
         "smpi/send-is-detached-thresh:0", "smpi/tmpdir:{tmp}")


@dataclass(frozen=True)
class Overheads:
    """What takes time besides the links' bytes.

    Sources. Ajima et al., "The Tofu Interconnect D", IEEE Cluster 2018, for what six interfaces of a node were measured
    to send together, 38.1 of 40.8 GB/s, here also to receive, and for a put of 8 bytes, 0.49 us. The 800 GB/s of the
    1,024 that an A64FX's memory has, and the 0.5 us of CPU, are assumed. The same paper's 93 % of a link's rate for a
    stream of puts is not in here: ``plan/cost_model.py`` has it, and with it no algorithm reaches more than 93 % of
    what is called the bound here.

    Attributes:
        message_s: seconds of CPU per message on either side.
        memory_bytes_per_s: at which reductions read and write; infinity lets them take no time.
        node_bytes_per_s: that a node sends, and that it receives.
        put_s: seconds of a message without bytes from a node to its neighbour; further links take ``HOP_S`` each.
    """

    message_s: float = 0.5e-6
    memory_bytes_per_s: float = 800e9
    node_bytes_per_s: float = INJECTION_BYTES_PER_S
    put_s: float = PUT_S

    def settings(self) -> tuple[str, ...]:
        """Return SMPI's settings.

        SMPI would charge receivers for detached messages only. Ranks send as many messages as they receive, and so they
        pay for both when they send.
        """
        return tuple(f"smpi/{name}:0:{2 * self.message_s}:0" for name in ("os", "ois"))


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
    def num_members(self) -> int:
        """Ranks of a group."""
        return prod(self.dimensions)

    @property
    def nodes(self) -> list[int]:
        """Node of each rank; the first dimension runs fastest in the numbers of nodes and in those of ranks."""
        found = []
        for rank in range(self.num_ranks):
            node, stride = 0, 1
            for length, nodes in zip(self.dimensions, self.machine, strict=True):
                node += rank % length * stride
                rank, stride = rank // length, stride * nodes
            found.append(node)
        return found

    @property
    def num_ports(self) -> int:
        """Directions of links that a rank has, as far as its network interfaces can serve them."""
        ports = sum(2 if length > 2 and not part.endswith("l") else 1
                    for part, length in zip(self.torus.split("x"), self.dimensions, strict=True) if length > 1)
        return min(ports, NUM_INTERFACES)

    @property
    def size(self) -> str:
        """The vector's, for people."""
        return f"{self.num_bytes / 1e6:,.1f} MB" if self.num_bytes >= 1e6 else f"{self.num_bytes / 1e3:,.1f} KB"

    @property
    def count(self) -> int:
        """Elements of float32 in the simulated vector, in equal blocks."""
        return self.num_bytes // self.scale // 4 // self.num_members * self.num_members

    @property
    def lower_bound_s(self) -> float:
        """The least time in which links of this torus can carry it: every rank sends its share through all of them."""
        passes = 2 if self.collective == "all_reduce" else 1
        num_bytes = self.count * 4 * self.scale
        return passes * num_bytes * (self.num_members - 1) / self.num_members / self.num_ports / LINK_BYTES_PER_S


#: TP 6 of the 13B run on the 2x3 nodes of a unit, DP 288 on 24x12 of its nodes, cubes, and 4x4x3 units of Tofu-D with
#: all six axes; small vectors of Swing for comparison with lanes. SimGrid's time grows with the messages under way
#: together: TP 6 takes it seconds of a CPU, DP 288 half a minute, 1,728 ranks minutes. With overheads, a node's limit
#: binds where it has six links and more; simulations of these take many times as long.
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
    *(Case("Swing", "8x8", num_bytes, algorithm=algorithm)
      for num_bytes in (1 << 10, 1 << 16, 1 << 20) for algorithm in ("swing", "lanes", "doubling")),
    Case("512", "8x8x8", 104_857_600, num_segments=4, scale=100),
    Case("576", "4x4x3x2x3x2", 104_857_600, num_segments=4, scale=100),
    Case("1728", "12x12x12", 104_857_600, num_segments=4, scale=100),
)

#: Shares of the bound that lanes are to reach in the groups of the 13B run.
JUDGED, LEAST_SHARE, LEAST_SHARE_WITH_OVERHEADS = ("TP 6", "DP 288"), 0.99, 0.93


@dataclass(frozen=True)
class Cost:
    """Seconds that a simulation took on this machine, and those of its CPUs."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> Cost:
        """Return the clocks of this moment, that of the CPUs for all children that have ended."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(time.monotonic(), used.ru_utime + used.ru_stime)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


@dataclass
class Simulator:
    """The built program, and what it takes to run it."""

    program: Path
    overheads: Overheads | None = None
    timeout_s: float = 3600
    settings: tuple[str, ...] = field(default=FLUID)
    cost: Cost | None = None

    def run(self, case: Case) -> float:
        """Return the simulated seconds of a case, all of whose results were right; ``cost`` tells what it took.

        Raises:
            EnvironmentError: SMPI ended without an answer.
            AssertionError: a rank had a wrong result.
        """
        with tempfile.TemporaryDirectory() as folder:
            hosts = write_network(Path(folder), case, self.overheads)
            settings = [*self.settings, *(self.overheads.settings() if self.overheads else ())]
            command = [
                "smpirun", *(f"--cfg={setting.format(tmp=folder)}" for setting in settings), "-np", str(case.num_ranks),
                "-platform", str(self.program.with_name("network.so")), "-hostfile", str(hosts), str(self.program),
                f"--collective={case.collective}", f"--algorithm={case.algorithm}", f"--count={case.count}",
                f"--segments={case.num_segments}", f"--scale={case.scale}", f"--torus={case.torus}",
                f"--max-ports={NUM_INTERFACES}", f"--members={case.num_members}",
            ]
            if self.overheads and self.overheads.memory_bytes_per_s < inf:
                command.append(f"--memory={self.overheads.memory_bytes_per_s / case.scale}")
            begin = Cost.now()
            code, out, error = _run_with_children(command, folder, self.timeout_s)
            self.cost = Cost.now() - begin
        answers = [line for line in out.splitlines() if line.startswith("{")]
        if code or not answers:
            end = f"did not end within {self.timeout_s:g} s" if code is None else f"ended with {code}"
            raise EnvironmentError(f"smpirun of {case.name} {end}: {error[-500:].strip()}",
                                   "there is no simulated time", "look at what it says", "smpirun")
        answer = json.loads(answers[0])
        assert answer["wrong"] == 0, f"{case}: {answer['wrong']} wrong elements"
        return answer["time_s"]


def _run_with_children(command: list[str], folder: Path, timeout_s: float) -> tuple[int | None, str, str]:
    """Return the exit code, None after the timeout, and both outputs; smpirun, a script, does not end its child."""
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          start_new_session=True) as process:
        try:
            out, error = process.communicate(timeout=timeout_s)
            return process.returncode, out, error
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, *process.communicate()
        except BaseException:  # Ctrl-C does not reach a session of its own
            os.killpg(process.pid, signal.SIGKILL)
            raise


def write_network(folder: Path, case: Case, overheads: Overheads | None = None) -> Path:
    """Write what ``csrc/comm/simulate/network.cpp`` reads in its working directory, and return SimGrid's host file."""
    hosts = folder / "hosts"
    num_links = sum(min(length - 1, 2) for length in case.machine)
    # All links of a node together may be what it can send anyway; simulations are much faster without a limit.
    limit = overheads.node_bytes_per_s if overheads and overheads.node_bytes_per_s < num_links * LINK_BYTES_PER_S else 0
    values = {"nodes": "x".join(map(str, case.machine)), "link_bytes_per_s": LINK_BYTES_PER_S / case.scale,
              "hop_s": HOP_S, "put_s": overheads.put_s if overheads else HOP_S, "node_bytes_per_s": limit / case.scale}
    (folder / "network.txt").write_text("".join(f"{name} {value}\n" for name, value in values.items()))
    hosts.write_text("".join(f"node-{node}\n" for node in case.nodes))
    return hosts


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
    model = "with overheads" if has_overheads else "fluid"
    is_judged = case.algorithm == "lanes" and case.name in JUDGED
    target = (LEAST_SHARE_WITH_OVERHEADS if has_overheads else LEAST_SHARE) if is_judged else None
    return Record("smpi", f"{case.collective} {case.algorithm} {case.torus} ({case.name}) {case.size} {model}",
                  "simulated_time", time_s, "s", "bound of the links", case.lower_bound_s, target)


def render_table(records: list[Record], costs: list[Cost]) -> str:
    """Return simulated times, shares of the bound and what simulating took as text."""
    return render_columns(
        ["simulated, not measured", "time", "bound", "share", "target", "simulated in"],
        [[record.case, *(f"{seconds * 1e3:.4f} ms" for seconds in (record.value, record.peer_value)),
          f"{100 * record.ratio:.1f} %",
          "-" if record.target is None else f"{'' if record.ok else '! '}{100 * record.target:.0f} %",
          f"{cost.cpu_s:.1f} s CPU, {cost.wall_s:.0f} s"]
         for record, cost in zip(records, costs, strict=True)],
    )


def simulate(names: tuple[str, ...] = (), has_overheads: bool = False) -> tuple[list[Record], list[Cost]]:
    """Build the program and run the cases of these names, or all.

    Raises:
        EnvironmentError: SimGrid or the source tree is missing, or a simulation fails.
    """
    records, costs = [], []
    with tempfile.TemporaryDirectory() as folder:
        simulator = Simulator(build_simulator(Path(folder)), Overheads() if has_overheads else None)
        for case in CASES:
            if not names or case.name in names:
                records.append(compare(case, simulator.run(case), has_overheads))
                costs.append(simulator.cost)
    return records, costs
