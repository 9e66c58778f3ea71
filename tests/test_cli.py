"""The command line: verbs and flags that people and job scripts depend on, exit codes, and light imports."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest

from megatron_fugaku import __version__
from megatron_fugaku.cli import VERBS, build_parser, main
from megatron_fugaku.errors import ConfigError, EnvironmentError, PatchError

WAY = ["config", "overrides"]
# A flag that goes or changes its name breaks scripts: change this list knowingly.
FLAGS = {
    "data": ["recipe", "stages", "--output", "--workers", "--verify"],
    "pretrain": WAY,
    "run": ["-m", "program", "arguments"],
    "plan": [*WAY, "--torus", "--algorithm", "--write", "--hosts"],
    "launch": [], "launch local": [*WAY, "--num-ranks", "--dry-run"],
    "launch pjm": [*WAY, "--output", "--overwrite", "--check-files"],
    "launch slurm": [*WAY, "--output", "--overwrite", "--check-files"],
    "generate": ["run_dir", "--prompt", "--iteration", "--max-new-tokens", "--temperature", "--top-k", "--top-p",
                 "--seed", "--save"],
    "report": ["run_dir", "--output", "--trace"],
    "comm": [], "comm table": ["--ranks", "--ranks-per-node"], "comm tune": ["--output", "--max-bytes", "--shape"],
    "comm wire": ["--ranks", "--elements", "--algorithm"],
    "comm flags": [], "comm preload": ["program"],
    "xray": ["run_dir", "--min-wait", "--trace"],
    "bench": [], "bench comm": ["--ranks", "--sizes", "--ops", "--dtypes", "--rounds", "--json",
                                "--simulate", "--config", "--plot"],
    "bench preload": ["--ranks", "--sizes", "--starts", "--json"],
    "bench step": ["--precision", "--threads", "--rounds", "--json"],
    "bench smpi": ["--cases", "--overheads", "--model", "--json"],
    "bench kernels": ["--target", "--cases", "--compiler", "--threads", "--no-peers", "--arm64-root", "--plot",
                      "--json"],
    "doctor": ["--json"],
    "patches": [], "patches list": [], "patches explain": ["id"], "patches digests": ["--against"],
    "patches check": ["--against"],
}


def flags_of(parser: argparse.ArgumentParser, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: []}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child, subparser in action.choices.items():
                found.update(flags_of(subparser, f"{name} {child}"))
        elif action.dest != "help":
            found[name] += action.option_strings or [action.dest]
    return found


def parser_of(verb: str) -> argparse.ArgumentParser:
    [verbs] = [action for action in build_parser(verb)._actions if isinstance(action, argparse._SubParsersAction)]
    return verbs.choices[verb]


def test_flags_are_frozen():
    found = {name: flags for verb in VERBS for name, flags in flags_of(parser_of(verb), verb).items()}
    assert found == FLAGS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_prints(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert VERBS[verb].split(";")[0].split(",")[0] in " ".join(capsys.readouterr().out.split())


def test_version_and_wrong_verbs(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mfugaku {__version__}\n"
    for argv in ([], ["train"]):
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert ended.value.code == 2


def test_an_error_is_one_line_and_its_exit_code(capsys, tmp_path):
    assert main(["pretrain", str(tmp_path / "no.yaml")]) == ConfigError.exit_code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("mfugaku pretrain: error: ")
    assert printed.err.count("\n") == 1
    assert main(["patches", "explain", "no-such-patch"]) == PatchError.exit_code
    assert "cuda-current-device" in capsys.readouterr().err


def test_misspelt_variables_stop_every_verb(monkeypatch, capsys):
    monkeypatch.setenv("MFUGAKU_STRICT_PATCH", "1")
    assert main(["patches", "list"]) == EnvironmentError.exit_code
    assert "Did you mean MFUGAKU_STRICT_PATCHES?" in capsys.readouterr().err


def test_an_interrupt_is_no_traceback(monkeypatch, capsys):
    from megatron_fugaku.commands import patches

    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(patches, "run", interrupt)
    assert main(["patches", "list"]) == 130
    assert capsys.readouterr().err == "mfugaku patches: interrupted\n"


def test_faults_of_ours_keep_their_traceback(monkeypatch):
    from megatron_fugaku.commands import patches

    def fail(args):
        raise ZeroDivisionError

    monkeypatch.setattr(patches, "run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["patches", "list"])


def test_help_imports_no_verb_and_the_package_changes_nothing():
    program = ("import sys, megatron_fugaku.cli as cli\n"
               "cli.build_parser().format_help()\n"
               "print(sorted(name for name in sys.modules if name.split('.')[0] in ('torch', 'numpy', 'megatron', "
               "'pydantic', 'yaml') or name.startswith('megatron_fugaku.commands')))")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MFUGAKU_")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
