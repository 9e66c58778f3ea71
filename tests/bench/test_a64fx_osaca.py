"""OSACA's opinion of a loop, where it is installed."""

from __future__ import annotations

import pytest

from megatron_fugaku.bench import a64fx_osaca
from megatron_fugaku.bench.a64fx_osaca import Opinion


@pytest.mark.skipif(not a64fx_osaca.is_installed(), reason="needs OSACA: pip install osaca")
def test_osaca_has_an_opinion_and_says_how_much_it_knows():
    opinion = a64fx_osaca.ask_osaca(["fadd z0.s, z0.s, z0.s", "add x0, x1, x2", "b.ne #-8"])
    assert opinion.carried == pytest.approx(9) and opinion.num_known == 3
    opinion = a64fx_osaca.ask_osaca([*(f"fmla z{i}.s, p0/m, z30.s, z31.s" for i in range(24)),
                                     "umulh z29.s, p0/m, z29.s, z28.s", "b.ne #-100"])
    assert opinion == Opinion(12.0, 9.0, 25)


def test_where_osaca_fails_there_is_no_opinion(tmp_path, monkeypatch):
    osaca = tmp_path / "osaca"
    osaca.write_text("#!/bin/sh\nexit 1\n")
    osaca.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert a64fx_osaca.ask_osaca(["add x0, x1, x2", "b.ne #-4"]) is None
