"""The model of cycles: blocks put together again, instructions as text, and the corrections of llvm-mca's model."""

from __future__ import annotations

import pytest

from megatron_fugaku.bench import a64fx_cycles
from megatron_fugaku.bench.a64fx_counts import Block, Region
from megatron_fugaku.bench.a64fx_cycles import disassemble, division_cycles, join_blocks, model_cycles, simulate
from megatron_fugaku.errors import EnvironmentError

ADD, BNE, B, BL, RET, CBZ = 0x8B020020, 0x54FFFFC1, 0x14000004, 0x94000004, 0xD65F03C0, 0xB4000040
FADD_Z = 0x65800000  # fadd z0.s, z0.s, z0.s


def test_blocks_that_were_cut_are_joined():
    first, second = Block(0x1000, "f", 7, (ADD, ADD)), Block(0x1008, "f", 7, (ADD, BNE))
    assert join_blocks([second, first]) == [Block(0x1000, "f", 7, (ADD, ADD, ADD, BNE))]
    assert join_blocks([first, Block(0x1008, "f", 6, (ADD,))]) == [first, Block(0x1008, "f", 6, (ADD,))]
    assert len(join_blocks([first, Block(0x100C, "f", 7, (ADD,))])) == 2


def test_blocks_that_overlap_are_joined_where_they_meet():
    """QEMU cuts long code wherever it entered it: a loop's first iteration has its cuts elsewhere."""
    entry, rest = Block(0x1000, "", 1, (ADD,) * 5), Block(0x1014, "", 1, (ADD, BNE))
    loop, end = Block(0x1004, "", 9, (ADD,) * 3), Block(0x1010, "", 9, (ADD, ADD, BNE))
    assert set(join_blocks([entry, rest, loop, end])) == {Block(0x1000, "", 1, (ADD,) * 6 + (BNE,)),
                                                          Block(0x1004, "", 9, (ADD,) * 5 + (BNE,))}


def test_what_follows_a_page_is_put_to_all_that_flow_into_it():
    entry, loop = Block(0x0FF0, "", 2, (ADD,) * 4), Block(0x0FF4, "", 9, (ADD,) * 3)
    assert set(join_blocks([entry, loop, Block(0x1000, "", 11, (ADD, BNE))])) == {
        Block(0x0FF0, "", 2, (ADD,) * 5 + (BNE,)), Block(0x0FF4, "", 9, (ADD,) * 4 + (BNE,))}
    assert len(join_blocks([entry, loop, Block(0x1000, "", 12, (ADD, BNE))])) == 3  # entered from elsewhere too


def test_what_follows_surely_comes_before_what_a_branch_may_skip():
    maybe, surely = Block(0x1000, "", 5, (ADD, ADD, BNE)), Block(0x1004, "", 5, (ADD, ADD))
    after = Block(0x100C, "", 5, (ADD, RET))
    assert set(join_blocks([maybe, surely, after])) == {maybe, Block(0x1004, "", 5, (ADD, ADD, ADD, RET))}


@pytest.mark.parametrize(("last", "number"), [(ADD, 1), (BNE, 1), (CBZ, 1), (B, 2), (BL, 2), (RET, 2)])
def test_nothing_is_joined_behind_a_branch_without_a_condition(last, number):
    assert len(join_blocks([Block(0, "", 5, (ADD, last)), Block(8, "", 5, (ADD,))])) == number


def test_divisions_of_scalars_and_neon_occupy_their_pipe():
    assert division_cycles(["fdiv v0.4s, v1.4s, v2.4s", "fsqrt v0.2d, v1.2d", "fdiv s0, s1, s2"]) == 29 + 43 + 29
    assert division_cycles(["fsqrt h0, h1", "fdiv d3, d4, d5"]) == 38 + 43
    # SVE's are in the model as they are, and these divide nothing.
    assert division_cycles(["fdiv z0.s, p0/m, z0.s, z1.s", "fsqrt z0.d, p0/m, z1.d", "frecpe v0.4s, v1.4s"]) == 0


@pytest.mark.usefixtures("llvm_tools")
def test_instructions_have_their_text():
    texts = disassemble([ADD, BNE, 0xFFFFFFFF, FADD_Z, ADD])
    assert texts == {ADD: "add x0, x1, x2", BNE: "b.ne #-8", FADD_Z: "fadd z0.s, z0.s, z0.s"}


def alone(*texts: str) -> tuple[float, float]:
    [cycles] = simulate([texts])
    return cycles


@pytest.mark.usefixtures("llvm_tools")
def test_the_model_knows_the_pipes_of_an_a64fx():
    assert alone(*(f"fmla z{i}.s, p0/m, z30.s, z31.s" for i in range(24))) == pytest.approx((12, 12))
    assert alone("fmla z0.s, p0/m, z30.s, z31.s") == pytest.approx((0.5, 9))  # each waits for the one before
    by_element = alone(*(f"fmla z{i}.s, z24.s, z7.s[0]" for i in (*range(7), *range(8, 24))))
    assert by_element[0] == pytest.approx(23)  # half the rate
    assert alone(*(f"add x{i}, x{i}, #1" for i in range(8)))[0] == pytest.approx(2, abs=0.3)  # four are decoded at once


@pytest.mark.usefixtures("llvm_tools")
def test_divisions_are_corrected():
    """As the model is, both would follow each other every cycle."""
    assert alone("fdiv v0.4s, v1.4s, v2.4s") == (29, 29)
    assert alone("fsqrt d0, d1", "add x0, x0, #1", "fdiv d2, d3, d4")[0] == 86
    assert alone("fdiv z0.s, p0/m, z0.s, z1.s")[0] == 98


@pytest.mark.usefixtures("llvm_tools")
def test_what_the_model_does_not_know_is_decoded_all_the_same():
    assert alone("dc zva, x0", "nop") == (0.5, 0.5)
    assert simulate([["nop"], ["add x0, x1, x2"] * 8, [".inst 0xffffffff"]])[1][0] == pytest.approx(2, abs=0.3)


@pytest.mark.usefixtures("llvm_tools")
def test_regions_add_up_their_blocks():
    hot, cold = Block(0, "", 1000, (FADD_Z,) * 2), Block(64, "", 1, (ADD,))
    [cycles] = model_cycles([Region(2001, {}, (cold, hot))])
    [(low, high)] = simulate([["fadd z0.s, z0.s, z0.s"] * 2])
    assert (low, high) == pytest.approx((1, 18))
    assert cycles.low == pytest.approx(1000 * low + 0.25) and cycles.high == pytest.approx(1000 * high + 1)
    assert cycles.coverage == pytest.approx(2000 / 2001)


def test_without_llvm_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentError, match=r"llvm-mc-19 is not on PATH.*apt install llvm-19"):
        a64fx_cycles.check_tools()
