"""docker/Dockerfile names files that exist, versions that are true, and nothing that would need a registry."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import megatron_fugaku

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
LINES = TEXT.replace("\\\n", " ").splitlines()


def default_of(argument: str) -> str:
    return re.search(rf"^ARG {argument}=(.*)$", TEXT, re.MULTILINE)[1]


def test_copied_files_exist():
    words = [line.split()[1:-1] for line in LINES if line.startswith("COPY ") and "--from" not in line]
    names = [name for line in words for name in line]
    assert len(names) > 20
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_steps_are_used_and_executable():
    steps = {path.name: path for path in (ROOT / "docker" / "steps").iterdir()}
    for name, path in steps.items():
        assert f"docker/steps/{name}" in TEXT, f"no stage copies {name}"
        assert path.suffix != ".sh" or path.stat().st_mode & 0o111 == 0o111, f"{name} is not executable"


def test_label_has_the_version_of_the_package():
    assert default_of("VERSION") == megatron_fugaku.__version__


def test_extras_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(default_of("EXTRAS").split(",")) <= set(project["optional-dependencies"])


def test_the_runtime_is_what_a_plain_build_makes():
    stages = [line.split()[-1] for line in LINES if line.startswith("FROM ")]
    assert stages[-1] == "runtime"
    assert "test" in stages


def test_no_stage_needs_more_than_the_two_base_images():
    own = {"scratch", "${BASE_IMAGE}", "${BUILD_IMAGE}"}
    for line in LINES:
        if line.startswith("FROM "):
            words = [word for word in line.split()[1:] if not word.startswith("--")]
            assert words[0] in own, line
            own.add(words[-1])
    assert not re.search(r"^#\s*syntax\s*=", TEXT, re.MULTILINE | re.IGNORECASE)


def test_the_target_is_named_where_its_programs_run():
    # buildah 1.28 hands the platform of one stage down to the next that names none.
    for line in LINES:
        if "${BASE_IMAGE}" in line and line.startswith("FROM"):
            assert "--platform=$TARGETPLATFORM" in line
        if "${BUILD_IMAGE}" in line and line.startswith("FROM"):
            assert "--platform=$BUILDPLATFORM" in line
