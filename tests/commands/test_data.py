"""The command line of ``mfugaku data``."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_fugaku.cli import build_parser, main


@pytest.mark.parametrize(
    ("line", "stages"),
    [
        ("r.yaml", []),
        ("r.yaml --output d", []),
        ("r.yaml tokens", ["tokens"]),
        ("r.yaml --output d corpus tokenizer", ["corpus", "tokenizer"]),
        ("--output d r.yaml corpus --workers 2", ["corpus"]),
    ],
)
def test_stages_may_stand_anywhere(line: str, stages: list[str]) -> None:
    args = build_parser("data").parse_args(["data", *line.split()])
    assert (args.recipe, args.stages) == (Path("r.yaml"), stages)
    assert args.output == (Path("d") if "--output" in line else None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["r.yaml", "nonsense"], "no stage is named 'nonsense'"),
        (["r.yaml", "--workers", "0"], "--workers is 0"),
        (["absent.yaml"], "cannot read the recipe absent.yaml"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments]) == 7
    error = capsys.readouterr().err
    assert error.startswith("mfugaku data: error: ") and message in error and error.count("\n") == 1
