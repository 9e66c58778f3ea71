"""Stock torch for aarch64 in the cases of our kernels, from the arm64 image of docker/build.sh, in the same QEMU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from megatron_fugaku.bench.a64fx_counts import Block, Region, count_regions
from megatron_fugaku.bench.a64fx_cycles import Cycles, model_cycles
from megatron_fugaku.errors import EnvironmentError

PROGRAM = Path(__file__).with_name("kernel_peer_program.py")
IMAGES = ("localhost/mfugaku-test:arm64", "localhost/mfugaku:arm64")
BUILD_IMAGE = "docker/build.sh --platform linux/arm64 --target test"


@dataclass(frozen=True)
class PeerCount:
    """What stock torch takes for one unit of a case."""

    torch: str
    instructions: float
    cycles: Cycles


@contextmanager
def open_arm64_root(given: Path | None = None) -> Iterator[Path]:
    """Yield the folder of an aarch64 system with torch: the given one, else an image of ours, mounted for as long.

    Raises:
        EnvironmentError: the folder has no torch, or there is no such image in the storage of buildah or podman.
    """
    if given is not None:
        find_site(given)
        yield given
        return
    for mount in (_mount_with_buildah, _mount_with_podman):
        for image in IMAGES:
            mounted = mount(image)
            if mounted is not None:
                root, unmount = mounted
                try:
                    find_site(root)
                    yield root
                finally:
                    subprocess.run(unmount, capture_output=True, check=False)
                return
    raise EnvironmentError(f"neither {' nor '.join(IMAGES)} is in the storage of buildah or podman",
                           "stock torch for aarch64 is counted in such an image", f"build it as root ({BUILD_IMAGE}), "
                           "or name a folder with an aarch64 system that has torch", "--arm64-root")


def _mount_with_buildah(image: str) -> tuple[Path, list[str]] | None:
    container = _ask("buildah", "from", "--quiet", "--pull-never", "--arch", "arm64", image)
    if container is None:
        return None
    remove = ["buildah", "rm", container]
    root = _ask("buildah", "mount", container)
    if root is None:
        subprocess.run(remove, capture_output=True, check=False)
        return None
    return Path(root), remove


def _mount_with_podman(image: str) -> tuple[Path, list[str]] | None:
    root = _ask("podman", "image", "mount", image)
    return None if root is None else (Path(root), ["podman", "image", "unmount", image])


def _ask(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None


def find_site(root: Path) -> tuple[Path, Path]:
    """Return the Python of an aarch64 system and the folder with its torch.

    Raises:
        EnvironmentError: one of them is not there.
    """
    sites = sorted(path.parent for pattern in ("usr/local/lib/python3*/*-packages", "usr/lib/python3*/*-packages",
                                               "opt/site") for path in root.glob(f"{pattern}/torch"))
    for site in sites:
        python = root / "usr" / "bin" / (site.parent.name if site.name.endswith("-packages") else "python3.11")
        if python.exists():
            return python, site
    raise EnvironmentError(f"{root} has no Python with torch", "stock torch for aarch64 is counted there",
                           f"name the root of an aarch64 system that has both, or build the image ({BUILD_IMAGE})",
                           "--arm64-root")


def count_peers(cases: Sequence[Mapping], counter: Path, marks: Path, root: Path) -> dict[str, PeerCount]:
    """Return stock torch's counts by the names of the cases, without those for which it has nothing.

    Args:
        cases: as the benchmark's program prints them.
        counter: the plugin.
        marks: the library of marks for aarch64.
        root: what :func:`open_arm64_root` yields.

    Raises:
        EnvironmentError: the emulated Python failed.
    """
    python, site = find_site(root)
    env = {"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent", "PYTHONPATH": str(site), "PYTHONNOUSERSITE": "1",
           "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "cases.json")
        listed.write_text(json.dumps(list(cases)), encoding="utf-8")
        printed, regions = count_regions(counter, [python, PROGRAM, marks, listed], root, env)
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    runs: dict[str, list[tuple[dict, Region]]] = {}
    for line, region in zip(lines, regions, strict=True):
        runs.setdefault(line["case"], []).append((line, region))
    # Of a case that was run on a part before, what the rest takes.
    rests = {case: subtract(*(region for _, region in reversed(of_case))) for case, of_case in runs.items()}
    cycles = model_cycles(list(rests.values()))
    peers = {}
    for (case, rest), model in zip(rests.items(), cycles, strict=True):
        num_units = runs[case][-1][0]["num_units"] - sum(line["num_units"] for line, _ in runs[case][:-1])
        peers[case] = PeerCount(lines[0]["torch"], rest.instructions / num_units,
                                Cycles(model.low / num_units, model.high / num_units, model.coverage))
    return peers


def subtract(whole: Region, part: Region | None = None) -> Region:
    """Return what a region has more than another one of the same process; the same without another one.

    What both executed equally often, such as the code by which a call gets to its kernel, is not in it any more.
    """
    if part is None:
        return whole
    executions = Counter({(block.address, block.words): block.executions for block in whole.blocks})
    executions.subtract({(block.address, block.words): block.executions for block in part.blocks})
    symbols = {(block.address, block.words): block.symbol for block in (*part.blocks, *whole.blocks)}
    blocks = tuple(Block(address, symbols[address, words], count, words)
                   for (address, words), count in executions.items() if count)
    classes = Counter(whole.classes)
    classes.subtract(part.classes)
    return Region(whole.instructions - part.instructions, dict(classes), blocks)
