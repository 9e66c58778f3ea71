"""The hottest loop of a region, and OSACA's opinion where it is installed."""

from __future__ import annotations

import shutil

import pytest

from megatron_fugaku.bench import a64fx_osaca
from megatron_fugaku.bench.a64fx_counts import Block, Region
from megatron_fugaku.bench.a64fx_osaca import HotLoop, Opinion, find_hot_loop, judge_hot_loops, render_hot_loops

ADD, FADD_Z, RET = 0x8B020020, 0x65800000, 0xD65F03C0
BNE_BACK_8, BNE_BACK_4 = 0x54FFFFC1, 0x54FFFFE1
needs_llvm = pytest.mark.skipif(shutil.which("llvm-mc-19") is None, reason="needs LLVM 19: apt-get install llvm-19")
LOOP = Block(0x1000, "f", 900, (FADD_Z, ADD, BNE_BACK_8))


@needs_llvm
def test_a_loop_ends_in_a_branch_to_its_beginning():
    straight, elsewhere = Block(0x2000, "", 5000, (ADD, RET)), Block(0x3000, "", 5000, (ADD, ADD, BNE_BACK_4))
    block, texts = find_hot_loop(Region(30_000, {}, (straight, elsewhere, LOOP)))
    assert block == LOOP and texts == ["fadd z0.s, z0.s, z0.s", "add x0, x1, x2", "b.ne #-8"]
    assert find_hot_loop(Region(25_000, {}, (straight, elsewhere))) is None


@pytest.mark.skipif(not a64fx_osaca.is_installed(), reason="needs OSACA: pip install osaca")
@needs_llvm
def test_osaca_has_an_opinion_and_says_how_much_it_knows():
    [loop] = judge_hot_loops(["a case"], [Region(3000, {}, (LOOP,))])
    assert loop.share == pytest.approx(0.9) and loop.num_instructions == 3
    assert loop.opinion.carried == pytest.approx(9) and loop.opinion.num_known == 3
    opinion = a64fx_osaca.ask_osaca([*(f"fmla z{i}.s, p0/m, z30.s, z31.s" for i in range(24)),
                                     "umulh z29.s, p0/m, z29.s, z28.s", "b.ne #-100"])
    assert opinion == Opinion(12.0, 9.0, 25)


def test_the_table_has_both_models():
    text = render_hot_loops([HotLoop("a case", 0.9, 30, (7.5, 9.0), Opinion(6.0, 9.0, 27)),
                             HotLoop("another", 0.5, 8, (2.0, 2.0), None)])
    assert [" ".join(line.split()) for line in text.splitlines()[1:]] == [
        "a case 90 % 30 7.5 - 9.0 6.0 - 9.0 90 %", "another 50 % 8 2.0 - 2.0 failed -"]


def test_where_osaca_fails_there_is_no_opinion(tmp_path, monkeypatch):
    osaca = tmp_path / "osaca"
    osaca.write_text("#!/bin/sh\nexit 1\n")
    osaca.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert a64fx_osaca.ask_osaca(["add x0, x1, x2", "b.ne #-4"]) is None
