"""What this machine has and what is missing, one finding per line.

A finding is ``ok``, a ``note`` (training works, something could be better) or ``missing``; a missing one that is
``needed`` means that training is not possible.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from megatron_fugaku.errors import MegatronFugakuError
from megatron_fugaku.launch import machine
from megatron_fugaku.launch.mpi import find_mpirun
from megatron_fugaku.mpi_choice import Choice, find_builds
from megatron_fugaku.mpi_families import FAMILY_TITLES
from megatron_fugaku.processor import check_processor, find_instruction_sets, read_cpu_facts

GIB = 1 << 30
_PR_SVE_GET_VL = 51
_SVE_VL_MASK = 0xFFFF
# (implementer, part) of MIDR_EL1, as /proc/cpuinfo shows them.
ARM_CPUS = {
    ("0x46", "0x001"): "Fujitsu A64FX", ("0x41", "0xd0c"): "Arm Neoverse N1", ("0x41", "0xd49"): "Arm Neoverse N2",
    ("0x41", "0xd40"): "Arm Neoverse V1 (Graviton3)", ("0x41", "0xd4f"): "Arm Neoverse V2 (Grace, Graviton4)",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report: ``status`` is "ok", "note" or "missing", and ``advice`` is for the last two."""

    what: str
    value: str
    status: str = "ok"
    advice: str = ""
    needed: bool = False


@dataclass(frozen=True)
class Supported:
    """A package the runs use: versions from ``least`` on and below ``below`` work, ``tested`` is what CI runs."""

    distribution: str
    least: tuple[int, ...]
    below: tuple[int, ...]
    tested: str
    needed: bool = True
    install: str = ""


PACKAGES = (
    Supported("torch", (2, 10), (2, 14), "2.10 and 2.13", install="pip install 'torch==2.13.0' (a CPU wheel)"),
    Supported("megatron-core", (0, 14), (0, 20), "0.16.1"),
    Supported("sentencepiece", (0, 2), (1,), "0.2.3"),
    Supported("numpy", (1, 26), (3,), "2"),
    Supported("deepspeed", (0, 19), (0, 20), "0.19.8", needed=False,
              install="only for DeepSpeed's own scripts: DS_BUILD_OPS=0 DS_ACCELERATOR=cpu pip install deepspeed"),
)


def _size(num_bytes: int | float) -> str:
    return f"{num_bytes / GIB:.1f} GiB"


def probe_processor() -> Iterator[Finding]:
    """Model, instruction sets, vector length, cores, NUMA nodes."""
    facts = read_cpu_facts()
    is_arm = platform.machine() == "aarch64"
    if is_arm and "CPU implementer" not in facts:
        yield Finding("processor", f"Arm, emulated on {facts.get('model name', 'another processor')}", "note",
                      "results are right, times say nothing")
        arm = None
    else:
        arm = ARM_CPUS.get((facts.get("CPU implementer", ""), facts.get("CPU part", "")))
        unknown = f"{platform.machine()}, part {facts.get('CPU part', 'unknown')}"
        yield Finding("processor", facts.get("model name") or arm or unknown)
    have = find_instruction_sets(platform.machine(), set(facts.get("flags", "").split()))
    fast = "sve" in have if is_arm else {"avx2", "fma"} <= set(have)
    wanted, instead = ("SVE", "those for NEON") if is_arm else ("AVX2 and FMA", "the portable ones")
    yield Finding("instruction sets", " ".join(have) or "baseline only", "ok" if fast else "note",
                  "" if fast else f"kernels for {wanted} stay unused; {instead} run instead")
    if "sve" in have:
        length = ctypes.CDLL(None, use_errno=True).prctl(_PR_SVE_GET_VL, 0, 0, 0, 0)
        yield Finding("SVE vector length", f"{(length & _SVE_VL_MASK) * 8} bits" if length >= 0 else "not readable",
                      "ok" if length >= 0 else "note", "" if length >= 0 else "the kernel refuses PR_SVE_GET_VL")
    cores = machine.find_cores()
    online = os.cpu_count() or 1
    mask = len(os.sched_getaffinity(0))
    value = f"{cores.num_usable} usable, {mask} of {online} CPUs in the affinity mask"
    if cores.cpu_quota is not None:
        value += f", cgroup quota {cores.cpu_quota:g} CPUs"
    limited = cores.is_limited_by_quota or mask < online
    yield Finding("cores", value, "note" if limited else "ok",
                  "fewer than the machine has: the batch system, container or taskset limits them" if limited else "")
    nodes = machine.read_numa_nodes()
    name = "CMGs (NUMA nodes)" if arm == "Fujitsu A64FX" else "NUMA nodes"
    yield Finding(name, ", ".join(f"{node}: {len(cpus)} CPUs" for node, cpus in nodes.items()) or "not visible",
                  "ok" if nodes else "note", "" if nodes else "ranks are bound without regard to memory")


def probe_memory() -> Iterator[Finding]:
    """Memory, cgroup limit, huge pages, shared memory, disk."""
    memory = machine.read_memory_bytes()
    total, free = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
    enough = free >= 4 * GIB
    yield Finding("memory", f"{_size(free)} available of {_size(total)}", "ok" if enough else "note",
                  "" if enough else "the quickstart's four ranks want about 4 GiB: start fewer ranks or close programs")
    limit = machine.read_memory_limit_bytes()
    if limit is not None and limit < total:
        yield Finding("memory limit (cgroup)", _size(limit), "note", "processes that exceed it are killed")
    transparent = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    mode = transparent.read_text().split("[")[1].split("]")[0] if transparent.exists() else "not available"
    yield Finding("huge pages", f"transparent: {mode}; reserved: {memory.get('HugePages_Total', 0)} of "
                  f"{memory.get('Hugepagesize', 0) >> 10} KiB", "note" if mode == "never" else "ok",
                  "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled makes large buffers faster"
                  if mode == "never" else "")
    if Path("/dev/shm").is_dir():
        shared = shutil.disk_usage("/dev/shm")
        small = shared.free < 512 << 20
        yield Finding("/dev/shm", f"{_size(shared.free)} free of {_size(shared.total)}", "note" if small else "ok",
                      "MPI passes messages of a node through it: give a container --shm-size=2g" if small else "")
    else:
        yield Finding("/dev/shm", "not there", "note", "MPI passes messages of a node through it: mount a tmpfs there")
    disk = shutil.disk_usage(".")
    full = disk.free < 5 * GIB
    yield Finding("disk here", f"{_size(disk.free)} free", "note" if full else "ok",
                  "the quickstart writes about 2 GiB of data and checkpoints" if full else "")


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def probe_mpi() -> Iterator[Finding]:
    """mpirun, the compilers, the backend and whether they are of one family."""
    family = None
    try:
        mpi = find_mpirun()
        family = "Open MPI" if mpi.flavor == "openmpi" else "MPICH"
        yield Finding("mpirun", f"{family} {mpi.version} at {mpi.path}", needed=True)
    except MegatronFugakuError as error:
        mpiexec = shutil.which("mpiexec") if "PJM_JOBID" in os.environ else None
        if mpiexec:  # Fujitsu MPI's names its version in no known words
            yield Finding("mpirun", f"that of this PJM job, {mpiexec}", needed=True)
        else:
            yield Finding("mpirun", "not found", "missing", error.fix, needed=True)
    compiler = os.environ.get("MPICXX") or next(filter(None, map(shutil.which, ("mpicxx", "mpic++", "mpiFCC"))), None)
    yield Finding("mpicxx", compiler or "not found", "ok" if compiler else "note",
                  "" if compiler else "needed to build the MPI backend: apt-get install libopenmpi-dev")
    plain = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
    yield Finding("C++ compiler", _first_line([plain, "--version"]) if plain else "not found",
                  "ok" if plain else "note", "" if plain else "needed to build the extensions: apt-get install g++")
    try:
        info = importlib.import_module("megatron_fugaku.comm").build_info()
    except (ImportError, MegatronFugakuError) as error:
        advice = str(error)
        if isinstance(error, ImportError):
            advice += "; build it with `pip install -e .` where mpicxx is on PATH"
        yield Finding("MPI backend", "not built or not loadable", "missing", advice, needed=True)
        return
    choice = importlib.import_module("megatron_fugaku.comm.extension").find_extension()
    builds = find_builds()
    others = [FAMILY_TITLES.get(name, name) for name in builds if name != choice.family]
    vendor = info.get("mpi_vendor", "unknown MPI")
    built = f"{vendor} {info.get('mpi_version', '')}".strip()
    fits = family is None or (family == "Open MPI") == (choice.family != "mpich")
    yield Finding("MPI backend", f"built with {built}, {info.get('compiler', 'unknown compiler')}, torch "
                  f"{info.get('torch_version', 'unknown')}", "ok" if fits else "missing",
                  "" if fits else f"mpirun is {family}: every rank would be alone. Set MFUGAKU_MPIRUN or rebuild",
                  needed=True)
    yield Finding("MPI chosen", f"{FAMILY_TITLES.get(choice.family, choice.family)}, {choice.reason}; built as well: "
                  f"{', '.join(others) or 'none'}; {_name_library(choice)}")


def _name_library(choice: Choice) -> str:
    """Return what the loaded MPI library calls itself, and its file where that was chosen here."""
    version = importlib.import_module("megatron_fugaku.comm").mpi_library_version().splitlines()[0]
    where = f" in {choice.library}" if choice.library else ""
    return f"loaded is {version.split(', package')[0].strip()}{where}"


def probe_kernels() -> Iterator[Finding]:
    """The instruction set that each family of compiled kernels runs on here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it would say stands in the finding
            choices = importlib.import_module("megatron_fugaku.kernels.extension").describe_kernels()
    except MegatronFugakuError as error:
        yield Finding("kernels", "cannot run", "missing", str(error), needed=True)
        return
    if choices:
        yield Finding("kernels", ", ".join(f"{choice.op}: {choice.isa}" for choice in choices))
    else:
        yield Finding("kernels", "not built", "note", "torch's own operators run instead: install g++ and this package "
                      "again")


def _version_tuple(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("+")[0].split("."):
        digits = "".join(char for char in part if char.isdigit())
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _probe_package(package: Supported) -> Finding:
    name = package.distribution
    bounds = f">={'.'.join(map(str, package.least))},<{'.'.join(map(str, package.below))}"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", "missing" if package.needed else "note",
                       package.install or f"pip install '{name}{bounds}'", needed=package.needed)
    if not package.least <= _version_tuple(version) < package.below:
        return Finding(name, version, "missing" if package.needed else "note",
                       f"supported are {bounds}, tested {package.tested}: pip install '{name}{bounds}'",
                       needed=package.needed)
    return Finding(name, version, needed=package.needed)


def probe_python() -> Iterator[Finding]:
    """Python, the packages a run needs, what torch was built for, and how the patches fit."""
    fits = sys.version_info >= (3, 11)
    yield Finding("Python", platform.python_version(), "ok" if fits else "missing",
                  "" if fits else "Python 3.11 or newer is needed", needed=True)
    for package in PACKAGES:
        yield _probe_package(package)
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        yield Finding("torch build", "cannot be loaded", "missing", f"{error}; reinstall torch", needed=True)
        return
    cuda = torch.version.cuda
    yield Finding("torch build", f"{f'CUDA {cuda}' if cuda else 'CPU'}, {torch.get_num_threads()} threads",
                  "note" if cuda else "ok",
                  "works, but the CPU wheel is smaller by gigabytes and loads faster on every rank" if cuda else "")
    yield from _probe_patches()


def _probe_patches() -> Iterator[Finding]:
    try:
        with warnings.catch_warnings():
            # megatron-core warns, module by module, that there is no Apex.
            warnings.simplefilter("ignore")
            statuses = importlib.import_module("megatron_fugaku.patches").check()
    except ImportError as error:
        yield Finding("patches", "cannot be loaded", "missing", f"{error}; reinstall this package", needed=True)
        return
    broken = [status for status in statuses if status.status == "broken"]
    drifted = [status for status in statuses if status.status == "drifted"]
    value = f"{len(statuses) - len(broken) - len(drifted)} of {len(statuses)} fit"
    if broken:
        yield Finding("patches", value, "missing", f"{broken[0].id}: {broken[0].detail}; see `mfugaku patches check`",
                      needed=True)
    elif drifted:
        yield Finding("patches", value, "note", f"upstream changed under {drifted[0].id}; see `mfugaku patches check`")
    else:
        yield Finding("patches", value)


Probe = Callable[[], Iterator[Finding]]
PROBES: tuple[Probe, ...] = (probe_processor, probe_memory, probe_mpi, probe_kernels, probe_python)


def choose_probes() -> tuple[Probe, ...]:
    """Return all probes, or those that load no torch, and why, where loading it would end this process."""
    try:
        check_processor()
    except MegatronFugakuError as error:
        findings = [Finding("torch", "does not run here", "missing", str(error), needed=True)]
        return probe_processor, probe_memory, lambda: iter(findings)
    return PROBES


def examine(probes: tuple[Probe, ...] | None = None) -> list[Finding]:
    """Run the probes; one that fails becomes a note that says how, so that the others are still heard."""
    findings: list[Finding] = []
    for probe in probes or choose_probes():
        try:
            findings.extend(probe())
        except Exception as error:  # A report about unknown machines must come out whatever one of them does.
            findings.append(Finding(probe.__name__.removeprefix("probe_"), "could not be examined", "note",
                                    f"{type(error).__name__}: {error}"))
    return findings


def is_training_possible(findings: list[Finding]) -> bool:
    """Whether nothing that is needed is missing."""
    return not any(finding.needed and finding.status == "missing" for finding in findings)


def render_findings(findings: list[Finding]) -> str:
    """Return the report for people: what, value, status, and advice on the next line."""
    width = max(len(finding.what) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<7}  {finding.what:<{width}}  {finding.value}")
        if finding.advice:
            lines.append(f"{'':<7}  {'':<{width}}  -> {finding.advice}")
    possible = is_training_possible(findings)
    lines.append("Training is possible on this machine." if possible else
                 "Training is not possible yet: " + ", ".join(
                     finding.what for finding in findings if finding.needed and finding.status == "missing"))
    return "\n".join(lines)


def describe_findings(findings: list[Finding]) -> dict:
    """Return the report as JSON-ready data."""
    return {"training_is_possible": is_training_possible(findings), "findings": [asdict(one) for one in findings]}
