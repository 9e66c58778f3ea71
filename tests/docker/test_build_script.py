"""docker/build.sh and docker/run.sh: what they refuse, in one sentence, and what they ask of the builder.

Nothing is built here. The scripts see a PATH of their own, with the few tools that they use and stand-ins for the
builders, which write down how they were called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "basename", "cat", "chmod", "df", "dirname", "env", "git", "grep", "mkdir", "mktemp", "mv", "rm",
         "sed", "sleep", "tail", "timeout", "tr", "true")
#: Prints its words on one line of the log.
RECORD = 'printf "%s" "$(basename "$0")" >>"$LOG"; for word; do printf " [%s]" "$word" >>"$LOG"; done; echo >>"$LOG"\n'
BUILDAH = RECORD + """
case "$*" in
    "info --format {{.store.GraphRoot}}") echo "$GRAPH_ROOT" ;;
    inspect*OCIv1.Architecture*) [ -n "${IMAGE_ARCHITECTURE:-}" ] && echo "$IMAGE_ARCHITECTURE" ;;
    from*) echo container-1 ;;
    build\\ *) exit "${BUILD_STATUS:-0}" ;;
    push*) for name; do :; done; name=${name#oci-archive:}; echo image >"$name"; exit "${PUSH_STATUS:-0}" ;;
    run*) exit "${RUN_STATUS:-0}" ;;
esac
"""
DOCKER = RECORD + """
case "$*" in
    info) exit "${DOCKER_STATUS:-0}" ;;
    "info --format"*) echo /nonexistent ;;
    "image inspect"*) [ -n "${IMAGE_ARCHITECTURE:-}" ] && echo "$IMAGE_ARCHITECTURE" ;;
    "buildx inspect"*) echo "Platforms: linux/amd64, linux/arm64" ;;
    "buildx version") exit "${BUILDX_STATUS:-0}" ;;
    --version) echo "Docker version ${DOCKER_VERSION:-28.2.2}, build 1" ;;
esac
"""


class Machine:
    """A folder of tools, and what is said about the machine that it stands for."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.binfmt = folder / "binfmt"
        for new in (self.bin, self.binfmt, folder / "storage"):
            new.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.variables = {"PATH": str(self.bin), "LOG": str(self.log), "BINFMT_DIR": str(self.binfmt),
                          "GRAPH_ROOT": str(folder / "storage"), "TMPDIR": str(folder)}
        self.put("uname", "echo x86_64")
        self.put("id", "echo 0")
        self.put("mount", RECORD + "exit 1")
        self.put("df", "echo 50000M")

    def put(self, name: str, script: str) -> None:
        """Install a stand-in."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
        path.chmod(0o755)

    def emulate(self, machine: str, flags: str = "PF") -> None:
        """Let the kernel know an emulator."""
        (self.binfmt / f"qemu-{machine}").write_text(f"enabled\ninterpreter /usr/bin/qemu\nflags: {flags}\noffset 0\n")

    def call(self, script: str, *words: str, **variables: str) -> subprocess.CompletedProcess:
        """Run a script of docker/."""
        return subprocess.run(["bash", str(ROOT / "docker" / script), *words], env={**self.variables, **variables},
                              capture_output=True, text=True, timeout=60, check=False)

    def calls(self, start: str) -> list[str]:
        """The recorded calls that begin so."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(start)]


@pytest.fixture
def machine(tmp_path):
    """An x86-64 machine where buildah can build for both architectures; no Docker."""
    machine = Machine(tmp_path)
    machine.put("buildah", BUILDAH)
    machine.put("mmdebstrap", "")
    machine.emulate("aarch64")
    return machine


def assert_refused(result: subprocess.CompletedProcess, code: int, *words: str) -> None:
    """The script ended with a code and one line of error that has some words."""
    errors = result.stderr.splitlines()
    assert result.returncode == code, result
    assert len(errors) == 1 and ": error: " in errors[0], result.stderr
    for word in words:
        assert word in errors[0]


@pytest.mark.parametrize(("words", "named"), [
    (["--platform", "linux/riscv64"], "linux/riscv64"),
    (["--target", "everything"], "everything"),
    (["--engine", "kaniko"], "kaniko"),
    (["--tag"], "--tag has no value"),
    (["--colour", "red"], "--colour"),
    (["--wheels", "/nonexistent"], "/nonexistent"),
    (["--ca-bundle", "/nonexistent/ca.pem"], "/nonexistent/ca.pem"),
    (["--archive", "/nonexistent/image.tar"], "/nonexistent"),
])
def test_wrong_words_are_refused_before_anything_starts(machine, words, named):
    assert_refused(machine.call("build.sh", *words), 2, named)
    assert not machine.calls("buildah")


def test_a_machine_of_another_kind_is_named(machine):
    machine.put("uname", "echo riscv64")
    assert_refused(machine.call("build.sh"), 3, "riscv64")


def test_without_docker_and_root_the_way_out_is_told(machine):
    machine.put("id", "echo 1000")
    assert_refused(machine.call("build.sh"), 3, "not root", "sudo docker/build.sh")


def test_missing_tools_without_apt_are_named(machine):
    (machine.bin / "buildah").unlink()
    (machine.bin / "mmdebstrap").unlink()
    assert_refused(machine.call("build.sh"), 3, "buildah mmdebstrap", "no apt-get")


def test_missing_tools_are_installed_and_apts_own_reason_is_told(machine):
    (machine.bin / "mmdebstrap").unlink()
    machine.put("apt-get", RECORD + 'echo "E: Unable to locate package" >&2; exit 100')
    assert_refused(machine.call("build.sh"), 3, "mmdebstrap", "E: Unable to locate package")
    machine.put("apt-get", RECORD + f'ln -sf {shutil.which("true")} {machine.bin}/mmdebstrap')
    (machine.bin / "ln").symlink_to(shutil.which("ln"))
    assert machine.call("build.sh").returncode == 0
    assert "[install] [-y] [--no-install-recommends] [mmdebstrap]" in machine.calls("apt-get")[-1]


@pytest.mark.parametrize("flags", [None, "P"])
def test_an_architecture_that_cannot_be_emulated_is_refused(machine, flags):
    (machine.binfmt / "qemu-aarch64").unlink()
    if flags is not None:
        machine.emulate("aarch64", flags)
    machine.put("qemu-aarch64-static", "")
    machine.put("update-binfmts", RECORD)
    result = machine.call("build.sh", "--platform", "linux/arm64")
    assert_refused(result, 3, "aarch64", "apt install qemu-user-static binfmt-support")
    assert machine.calls("update-binfmts [--enable] [qemu-aarch64]")
    assert not machine.calls("buildah [build]")
    assert machine.call("build.sh", "--platform", "linux/amd64").returncode == 0


def test_emulation_is_switched_on_where_it_is_installed(machine):
    (machine.binfmt / "qemu-aarch64").unlink()
    machine.put("qemu-aarch64-static", "")
    machine.put("update-binfmts", 'printf "enabled\\nflags: PF\\n" >"$BINFMT_DIR/qemu-aarch64"')
    result = machine.call("build.sh", "--platform", "linux/arm64")
    assert result.returncode == 0, result.stderr
    assert machine.calls(f"mount [-t] [binfmt_misc] [binfmt_misc] [{machine.binfmt}]")


def test_a_full_disk_is_told_before_building(machine):
    machine.put("df", "printf 'Avail\\n1234M\\n'")
    assert_refused(machine.call("build.sh"), 3, "1234 MB free", machine.variables["GRAPH_ROOT"])
    assert not machine.calls("buildah [build]")


def test_buildah_gets_every_platform_argument(machine):
    result = machine.call("build.sh", "--platform", "linux/arm64", "--target", "test", PIP_FIND_LINKS="")
    assert result.returncode == 0, result.stderr
    (call,) = machine.calls("buildah [build]")
    for words in ("[--platform] [linux/arm64]", "[--target] [test]", "[--tag] [mfugaku-test:arm64]",
                  "[--build-arg] [BUILDPLATFORM=linux/amd64]", "[--build-arg] [TARGETPLATFORM=linux/arm64]",
                  "[--build-arg] [TARGETARCH=arm64]", "[BASE_IMAGE=localhost/mfugaku-base:bookworm-arm64]",
                  "[BUILD_IMAGE=localhost/mfugaku-base:bookworm-amd64]"):
        assert words in call
    assert "mfugaku-test:arm64" in result.stdout.splitlines()[-1]


def test_a_failed_build_fails(machine):
    assert_refused(machine.call("build.sh", BUILD_STATUS="125"), 1, "was not built")


def test_an_archive_is_whole_or_absent(machine, tmp_path):
    archive = tmp_path / "image.tar"
    assert machine.call("build.sh", "--archive", str(archive), PUSH_STATUS="1").returncode == 1
    assert not list(tmp_path.glob("image.tar*"))
    result = machine.call("build.sh", "--archive", str(archive))
    assert f"oci-archive:{archive}" in result.stdout
    assert [path.name for path in tmp_path.glob("image.tar*")] == ["image.tar"]


def test_docker_builds_when_its_daemon_answers(machine):
    machine.put("docker", DOCKER)
    assert machine.call("build.sh", "--platform", "linux/arm64").returncode == 0
    (call,) = machine.calls("docker [buildx] [build]")
    assert "[--load]" in call and "[--platform] [linux/arm64]" in call and "BASE_IMAGE" not in call
    assert not machine.calls("buildah [build]")


def test_a_docker_that_cannot_build_is_passed_over_or_refused(machine):
    machine.put("docker", DOCKER)
    for variables, reason in (({"DOCKER_STATUS": "1"}, "no Docker daemon"), ({"BUILDX_STATUS": "1"}, "buildx")):
        assert_refused(machine.call("build.sh", "--engine", "docker", **variables), 3, reason, "--engine buildah")
        assert machine.call("build.sh", **variables).returncode == 0
    assert len(machine.calls("buildah [build]")) == 2


def test_a_docker_without_buildx_goes_without_the_wheels(machine, tmp_path):
    """Its builder takes one folder only, and refuses the option for another."""
    machine.put("docker", DOCKER)
    result = machine.call("build.sh", "--engine", "docker", "--wheels", str(tmp_path), BUILDX_STATUS="1",
                          DOCKER_VERSION="20.10.24")
    assert result.returncode == 0, result.stderr
    assert f"the wheels in {tmp_path} are not used" in result.stdout
    assert not any("--build-context" in call for call in machine.calls("docker"))


def test_package_sources_are_those_of_pip(machine, tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    kept = tmp_path / "kept"
    machine.put("pip3", f"""printf "%s\\n" "global.cert='/etc/hostname'" "global.index-url='https://wrong.example'" \
        ":env:.index-url='https://mirror.example/simple'" "global.find-links='https://files.example {wheels}'" \
        "global.extra-index-url='\\\\nhttps://extra.example\\\\nfile:///srv/simple'" """)
    machine.put("buildah", BUILDAH.replace("build\\ *)", f"""build\\ *) for word; do case $word in
        id=package_settings,src=*) cat "${{word#*src=}}" >{kept} ;; esac; done;"""))
    result = machine.call("build.sh")
    assert result.returncode == 0, result.stderr
    (call,) = machine.calls("buildah [build]")
    assert "[id=ca_bundle,src=/etc/hostname]" in call and f"[wheels={wheels}]" in call and "[TORCH_INDEX=]" in call
    assert kept.read_text().splitlines() == [
        "UV_DEFAULT_INDEX='https://mirror.example/simple'", "PIP_INDEX_URL='https://mirror.example/simple'",
        "UV_EXTRA_INDEX_URL='https://extra.example'", "PIP_EXTRA_INDEX_URL='https://extra.example'",
        "UV_INDEX_STRATEGY=unsafe-best-match", "UV_FIND_LINKS='https://files.example'"]
    assert "file:///srv/simple is not used" in result.stdout


def test_run_needs_a_command_and_an_image_of_the_platform(machine):
    assert_refused(machine.call("run.sh", "--platform", "linux/arm64"), 2, "no command")
    assert_refused(machine.call("run.sh", "mfugaku"), 3, "mfugaku:amd64",
                   "docker/build.sh --platform linux/amd64 --target runtime")
    assert_refused(machine.call("run.sh", "--platform", "linux/arm64", "--image", "x", "mfugaku",
                                IMAGE_ARCHITECTURE="amd64"), 2, "linux/amd64, not for linux/arm64")
    (machine.binfmt / "qemu-aarch64").unlink()
    assert_refused(machine.call("run.sh", "--image", "x", "true", IMAGE_ARCHITECTURE="arm64"), 3, "qemu-user-static")
    assert not machine.calls("buildah [from]")


@pytest.mark.parametrize("status", ["0", "7"])
def test_run_passes_words_and_status_and_leaves_no_container(machine, status):
    result = machine.call("run.sh", "--platform", "linux/arm64", "--env", "A=b c", "--volume", "/x:/y:ro",
                          "--workdir", "/y", "python3", "-c", "print('a  b')",
                          IMAGE_ARCHITECTURE="arm64", RUN_STATUS=status)
    assert result.returncode == int(status), result.stderr
    (call,) = machine.calls("buildah [run]")
    assert call.endswith("[container-1] [--] [python3] [-c] [print('a  b')]")
    for words in ("[--env] [QEMU_CPU=a64fx]", "[--env] [A=b c]", "[--volume] [/x:/y:ro]", "[--workingdir] [/y]",
                  "[--env] [OMPI_MCA_btl_vader_single_copy_mechanism=none]"):
        assert words in call
    assert machine.calls("buildah")[-1] == "buildah [rm] [container-1]"


def test_run_with_docker_and_without_emulation(machine):
    machine.put("docker", DOCKER)
    assert machine.call("run.sh", "mfugaku", "doctor", IMAGE_ARCHITECTURE="amd64").returncode == 0
    (call,) = machine.calls("docker [run]")
    assert call.endswith("[mfugaku:amd64] [mfugaku] [doctor]") and "QEMU" not in call and "[--network] [host]" in call


def test_the_scripts_have_no_fault_that_shellcheck_finds():
    shellcheck = shutil.which("shellcheck", path=f"{ROOT}/.venv/bin:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    scripts = sorted(str(path) for folder in ("docker", "docker/steps") for path in (ROOT / folder).glob("*.sh"))
    done = subprocess.run([shellcheck, "-x", *scripts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
