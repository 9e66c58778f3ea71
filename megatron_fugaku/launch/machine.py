"""What this machine lets us use: cores within the affinity mask and the cgroup quota, NUMA nodes, memory.

Everything is read from Linux's /proc and /sys; ``root`` lets tests put other machines there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from megatron_fugaku.errors import PlanError


@dataclass(frozen=True)
class Core:
    """One physical core: its usable hardware threads and its NUMA node (a CMG on A64FX)."""

    cpus: tuple[int, ...]
    numa_node: int


@dataclass(frozen=True)
class Cores:
    """The cores this process may use.

    Attributes:
        cores: ordered by NUMA node, then by number.
        cpu_quota: CPU seconds per second that the cgroup grants; None when unlimited.
    """

    cores: tuple[Core, ...]
    cpu_quota: float | None = None

    @property
    def num_usable(self) -> int:
        """Threads that can run at full speed at once, at least one."""
        if self.cpu_quota is None:
            return len(self.cores)
        return max(1, min(len(self.cores), int(self.cpu_quota + 1e-6)))

    @property
    def is_limited_by_quota(self) -> bool:
        """The cgroup grants less time than the cores would give."""
        return self.num_usable < len(self.cores)


def parse_cpu_list(text: str) -> list[int]:
    """Turn the kernel's ``0-3,8`` into ``[0, 1, 2, 3, 8]``."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _cgroup_directories(controller: str, root: Path) -> list[Path]:
    """Directories of this process's cgroup for ``controller``, leaf first, both hierarchies."""
    directories = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, names, relative = line.split(":", 2)
        base = root / "sys/fs/cgroup"
        if names and controller not in names.split(","):
            continue
        base = base / names if names else base
        if names and not base.is_dir():
            base = root / "sys/fs/cgroup" / controller
        leaf = base / relative.lstrip("/")
        directories += [path for path in (leaf, *leaf.parents) if path == base or base in path.parents]
    return directories


def read_cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPU seconds per second that the tightest enclosing cgroup grants; None when unlimited."""
    quotas = []
    for directory in _cgroup_directories("cpu", root):
        if text := _read(directory / "cpu.max"):
            quota, period = text.split()
        else:
            quota = _read(directory / "cpu.cfs_quota_us") or "-1"
            period = _read(directory / "cpu.cfs_period_us") or "100000"
        if quota not in ("max", "-1"):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def read_memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Return the memory limit of the tightest enclosing cgroup; None when unlimited."""
    limits = []
    for directory in _cgroup_directories("memory", root):
        text = _read(directory / "memory.max") or _read(directory / "memory.limit_in_bytes") or "max"
        if text != "max" and int(text) < 1 << 60:
            limits.append(int(text))
    return min(limits, default=None)


def read_memory_bytes(root: Path = Path("/")) -> dict[str, int]:
    """Return /proc/meminfo: values with a unit in bytes, counts as they are."""
    values = {}
    for line in (_read(root / "proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        values[name] = int(fields[0]) * (1024 if len(fields) > 1 else 1)
    return values


def read_numa_nodes(root: Path = Path("/")) -> dict[int, list[int]]:
    """Return the CPUs of every NUMA node that has some."""
    nodes = {}
    for path in (root / "sys/devices/system/node").glob("node[0-9]*"):
        cpus = parse_cpu_list(_read(path / "cpulist") or "")
        if cpus:
            nodes[int(path.name[4:])] = cpus
    return dict(sorted(nodes.items()))


def find_cores(affinity: set[int] | None = None, root: Path = Path("/")) -> Cores:
    """Return the cores of ``affinity`` (None: this process's mask), hardware threads of a core taken together."""
    allowed = set(os.sched_getaffinity(0)) if affinity is None else set(affinity)
    node_of = {cpu: node for node, cpus in read_numa_nodes(root).items() for cpu in cpus}
    cores = set()
    for cpu in allowed:
        siblings = _read(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        threads = tuple(sorted(allowed & set(parse_cpu_list(siblings or str(cpu)) or [cpu])))
        cores.add(Core(threads, node_of.get(cpu, 0)))
    ordered = sorted(cores, key=lambda core: (core.numa_node, core.cpus))
    return Cores(tuple(ordered), read_cpu_quota(root))


@dataclass(frozen=True)
class Placement:
    """How the ranks of one node share it.

    Attributes:
        num_threads: threads of each rank.
        cpu_sets: CPUs of each rank, or None to leave placement to the kernel.
        is_oversubscribed: there are more ranks than cores.
        reason: why, in a few words.
    """

    num_threads: int
    cpu_sets: tuple[tuple[int, ...], ...] | None
    is_oversubscribed: bool
    reason: str


def plan_placement(num_ranks: int, cores: Cores, threads_per_rank: int | None = None) -> Placement:
    """Share the cores equally between ``num_ranks`` ranks; neighbouring ranks get neighbouring cores.

    Args:
        num_ranks: ranks on this node.
        cores: what may be used.
        threads_per_rank: wish; None takes floor(cores / ranks), at least one.

    Raises:
        PlanError: ``threads_per_rank`` or ``num_ranks`` is below one.
    """
    if num_ranks < 1 or (threads_per_rank is not None and threads_per_rank < 1):
        raise PlanError(f"{num_ranks} ranks with {threads_per_rank} threads each were asked for",
                        "a rank needs at least one thread", "ask for one or more", "launch.cpus_per_rank")
    usable = cores.num_usable
    threads = threads_per_rank or max(1, usable // num_ranks)
    if num_ranks * threads > usable:
        return Placement(threads, None, True, f"{num_ranks} x {threads} threads share {usable} cores: not bound, and "
                         "waiting ranks yield")
    if cores.is_limited_by_quota:
        return Placement(threads, None, False, f"the cgroup grants the time of {usable} of {len(cores.cores)} cores: "
                         "not bound")
    sets, used, node_index = [], 0, 0
    nodes: dict[int, list[Core]] = {}
    for core in cores.cores:
        nodes.setdefault(core.numa_node, []).append(core)
    lists = list(nodes.values())
    for rank in range(num_ranks):
        left = num_ranks - rank
        # Skip to the next NUMA node when this one cannot hold a whole rank and the others hold all that are left.
        room = lists[node_index][used:] if node_index < len(lists) else []
        later = sum(len(group) // threads for group in lists[node_index + 1:])
        if len(room) < threads and later >= left:
            node_index, used = node_index + 1, 0
        taken: list[Core] = []
        while len(taken) < threads:
            group = lists[node_index]
            step = group[used:used + threads - len(taken)]
            taken, used = taken + step, used + len(step)
            if used == len(group):
                node_index, used = node_index + 1, 0
        sets.append(tuple(sorted(cpu for core in taken for cpu in core.cpus)))
    spread = len({core.numa_node for core in cores.cores})
    return Placement(threads, tuple(sets), False, f"{num_ranks} x {threads} of {usable} cores on {spread} NUMA node"
                     f"{'s' if spread > 1 else ''}, each rank bound to its own")
