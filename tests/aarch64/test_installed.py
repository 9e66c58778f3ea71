"""What is installed fits the processor it runs on: the wheel, what `mfugaku doctor` sees, the patches, the tokens."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import golden_pretraining as golden
import pytest
from mpi_helpers import mpi_environment
from stretch import stretched

from megatron_fugaku.elf import read_library
from megatron_fugaku.native_library import present_glibc

PROGRAMS = Path(__file__).parent / "programs"
IS_ARM = platform.machine() == "aarch64"
IS_EMULATED = IS_ARM and "CPU implementer" not in Path("/proc/cpuinfo").read_text()
#: Under QEMU, processors by QEMU's name, and bytes of their SVE vectors; else this machine's own. Those older than the
#: N1 lack the atomic instructions of Armv8.1, which torch 2.10 for aarch64 executes when it is loaded.
PROCESSORS = {"a64fx": 64, "neoverse-n1": 0} if IS_EMULATED else {"this": None}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


def environment_of(processor: str) -> dict[str, str]:
    return mpi_environment({"QEMU_CPU": processor} if IS_EMULATED else {})


def vector_bytes(processor: str) -> int:
    """What a program finds out by itself."""
    done = subprocess.run([sys.executable, str(PROGRAMS / "vector_length.py")], env=environment_of(processor),
                          capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.fixture(scope="module", params=list(PROCESSORS))
def processor(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def verbs(processor, tmp_path_factory) -> SimpleNamespace:
    """The outcomes of some verbs, run in one process of that processor."""
    folder = tmp_path_factory.mktemp("verbs")
    findings = folder / "findings.json"
    data = golden.data_folder(tmp_path_factory.mktemp("golden")) if processor != "neoverse-n1" else None
    commands = {"doctor": ["doctor", "--json", str(findings)], "patches": ["patches", "check"]}
    if data is not None:
        recipe = golden.write_golden_recipe(data)
        commands["data"] = ["data", str(recipe), "--output", str(data / "data"), "--workers", "1"]
    (folder / "commands.json").write_text(json.dumps(list(commands.values())))
    command = [sys.executable, str(PROGRAMS / "run_verbs.py"), "commands.json", "outcome.json"]
    done = subprocess.run(command, cwd=folder, env=environment_of(processor), capture_output=True, text=True,
                          timeout=stretched(150), check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    outcome = json.loads((folder / "outcome.json").read_text())
    found = {name: SimpleNamespace(**verb) for name, verb in zip(commands, outcome.pop("verbs"), strict=True)}
    return SimpleNamespace(**found, **outcome, findings=json.loads(findings.read_text()), folder=data)


def finding(verbs, what: str) -> dict | None:
    return next((one for one in verbs.findings["findings"] if one["what"] == what), None)


def test_doctor_sees_the_vectors(processor, verbs):
    """As the kernel, or QEMU, says to any program; and without SVE that its kernels stay unused."""
    num_bytes = vector_bytes(processor)
    assert num_bytes == PROCESSORS[processor] or not IS_EMULATED
    sets = finding(verbs, "instruction sets")
    if num_bytes:
        assert "sve" in sets["value"].split() and sets["status"] == "ok"
        assert finding(verbs, "SVE vector length")["value"] == f"{num_bytes * 8} bits"
        return
    assert "sve" not in sets["value"].split()
    assert finding(verbs, "SVE vector length") is None
    if IS_ARM:
        assert "asimd" in sets["value"].split()
        assert (sets["status"], "SVE" in sets["advice"]) == ("note", True)


def test_kernels_are_chosen_by_what_the_processor_has(processor, verbs):
    """SVE where its vectors are longer than NEON's; and SVE that is not there cannot be forced."""
    num_bytes = vector_bytes(processor)
    assert len(verbs.kernels) >= 3
    if IS_ARM:
        assert set(verbs.kernels.values()) == {"sve" if num_bytes > 16 else "neon"}
    if num_bytes:
        assert verbs.forced == ""
    else:
        assert re.match(r"This CPU has no sve, which is chosen for \w+\. .*It has: .*MFUGAKU_KERNELS", verbs.forced)


def test_training_is_possible_on_any_processor(verbs):
    assert verbs.doctor.status == 0, verbs.doctor.said
    assert verbs.findings["training_is_possible"] is True
    assert "Training is possible on this machine." in verbs.doctor.said


def test_all_patches_fit(verbs):
    assert verbs.patches.status == 0, verbs.patches.said
    fit, of = map(int, re.search(r"^(\d+) of (\d+) patches fit\b", verbs.patches.said, re.MULTILINE).groups())
    assert fit == of > 0


def test_the_tokens_are_the_same_on_every_processor(verbs):
    if verbs.folder is None:
        pytest.skip("made once, on the other processor")
    assert verbs.data.status == 0, verbs.data.said
    assert golden.digest_tokens(verbs.folder / "data" / "manifest.json") == golden.load_expected()["tokens_sha256"]


@pytest.mark.skipif(not IS_EMULATED, reason="an Armv8.0 processor is emulated")
@pytest.mark.parametrize("verb", [["doctor"], ["pretrain", "run.yaml"]])
def test_a_processor_that_torch_does_not_run_on_is_refused_in_words(verb):
    """Never by a signal: torch is not loaded by a process that has to say something."""
    done = subprocess.run([sys.executable, "-m", "megatron_fugaku", *verb], env=environment_of("cortex-a72"),
                          capture_output=True, text=True, timeout=stretched(100), check=False)
    assert done.returncode == 3, done.stderr
    assert "older than Armv8.1" in done.stdout + done.stderr


def libraries() -> list[Path]:
    return sorted(Path(importlib.util.find_spec("megatron_fugaku").origin).parent.rglob("*.so"))


def test_the_compiled_parts_are_for_this_processor_and_glibc():
    assert "_mpi_openmpi" in {path.name.split(".")[0] for path in libraries()}
    newest = tuple(map(int, present_glibc().split()[1].split(".")))
    for path in libraries():
        library = read_library(path)
        assert library.machine == platform.machine(), path
        asked = [version for names in library.versions.values() for version in names if version.startswith("GLIBC_2")]
        assert max(tuple(map(int, re.findall(r"\d+", version))) for version in asked) <= newest, path


def test_the_wheel_is_named_after_what_it_holds():
    """The architecture, and the least glibc that its libraries need."""
    wheel = importlib.metadata.distribution("megatron-fugaku").read_text("WHEEL")
    tags = re.findall(r"^Tag: (\S+)$", wheel, re.MULTILINE)
    assert tags and all(tag.endswith(f"_{platform.machine()}") for tag in tags), tags
    version = re.search(r"-manylinux_2_(\d+)_", tags[0])
    if version is None:
        pytest.skip("installed from a checkout, not from a wheel")
    needed = [int(minor) for path in libraries() for names in read_library(path).versions.values() for name in names
              for minor in re.findall(r"^GLIBC_2\.(\d+)", name)]
    assert max(17, *needed) == int(version[1])  # manylinux starts with 2.17 on aarch64
    interpreter = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert tags[0].startswith(f"{interpreter}-{interpreter}-")
