"""The hottest loop of a region: what it is, its share of the peak, its accesses to the stack."""

from __future__ import annotations

import pytest

from megatron_fugaku.bench import a64fx_osaca
from megatron_fugaku.bench.a64fx_counts import Block, Region
from megatron_fugaku.bench.a64fx_loops import HotLoop, find_hot_loop, judge_hot_loops, render_hot_loops
from megatron_fugaku.bench.a64fx_osaca import Opinion

ADD, FADD_Z, RET = 0x8B020020, 0x65800000, 0xD65F03C0
BNE_BACK_8, BNE_BACK_4 = 0x54FFFFC1, 0x54FFFFE1
LOOP = Block(0x1000, "f", 900, (FADD_Z, ADD, BNE_BACK_8))


def loop_of(*texts: str, cycles: tuple[float, float] = (1.0, 2.0), opinion: Opinion | None = None) -> HotLoop:
    return HotLoop("a case", 0.9, texts, cycles, opinion)


@pytest.mark.usefixtures("llvm_tools")
def test_a_loop_ends_in_a_branch_to_its_beginning():
    straight, elsewhere = Block(0x2000, "", 5000, (ADD, RET)), Block(0x3000, "", 5000, (ADD, ADD, BNE_BACK_4))
    block, texts = find_hot_loop(Region(30_000, {}, (straight, elsewhere, LOOP)))
    assert block == LOOP and texts == ["fadd z0.s, z0.s, z0.s", "add x0, x1, x2", "b.ne #-8"]
    assert find_hot_loop(Region(25_000, {}, (straight, elsewhere))) is None


@pytest.mark.usefixtures("llvm_tools")
def test_every_case_with_a_loop_is_judged(monkeypatch):
    monkeypatch.setattr(a64fx_osaca, "is_installed", lambda: False)
    straight = Region(5000, {}, (Block(0x2000, "", 2500, (ADD, RET)),))
    [loop] = judge_hot_loops(["straight", "a loop"], [straight, Region(3000, {}, (LOOP,))])
    assert (loop.case, loop.share, loop.flops, loop.opinion) == ("a loop", pytest.approx(0.9), 0, None)
    assert loop.cycles[1] == pytest.approx(9, abs=0.1)  # an addition takes so long, and each waits for the one before


def test_multiply_adds_of_float32_vectors_count():
    loop = loop_of("fmla z0.s, p0/m, z1.s, z2.s", "fmls z3.s, p0/m, z1.s, z2.s", "fmla z4.h, p0/m, z1.h, z2.h",
                   "fmla v5.4s, v1.4s, v2.4s", "fadd z6.s, z6.s, z7.s")
    assert loop.flops == 64 and loop.share_of_peak == pytest.approx(0.5)


def test_what_goes_to_the_stack_counts():
    loop = loop_of("ldr z0, [sp, #1, mul vl]", "str x0, [x29, #16]", "ldp x1, x2, [sp]", "ld1w { z1.s }, p0/z, [x2]")
    assert loop.num_stack_accesses == 3


@pytest.mark.parametrize(("installed", "shown"), [(True, "failed"), (False, "-")])
def test_the_table_has_both_models(monkeypatch, installed, shown):
    monkeypatch.setattr(a64fx_osaca, "is_installed", lambda: installed)
    text = render_hot_loops([loop_of("fmla z0.s, p0/m, z1.s, z2.s", "b.ne #-4", opinion=Opinion(6.0, 9.0, 1)),
                             loop_of("ldr x0, [sp]", "b.ne #-4")])
    assert [" ".join(line.split()) for line in text.splitlines()[1:]] == [
        "a case 90 % 2 1.0 - 2.0 25.0 % 0 6.0 - 9.0 50 %", f"a case 90 % 2 1.0 - 2.0 - 1 {shown} -"]
