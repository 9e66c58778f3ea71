"""The score of a 13B layer: its flops and elements, who stands in which step, and what bounds its time."""

from __future__ import annotations

import pytest

from megatron_fugaku.bench.a64fx_cycles import Cycles
from megatron_fugaku.bench.kernel_plot import plot_score
from megatron_fugaku.bench.kernel_score import BACKWARD, FORWARD, SERIAL, STOCK_CASES, add_up, render_score, time_steps
from megatron_fugaku.errors import EnvironmentError

PER_FLOP = 1 / 64  # cycles at the peak


def stock_of(products: float = PER_FLOP, others: float = 0.0, serial: float = 0.0) -> dict[str, Cycles]:
    cycles = {key: Cycles(products, 2 * products) if case["unit"] == "flop" else Cycles(others, others)
              for key, case in STOCK_CASES.items()}
    return cycles | {SERIAL: Cycles(serial, serial)}


def test_a_layer_has_its_flops():
    """234.6 GFLOP forward and twice that backward, which 48 cores do in 34.7 ms at their peak of 6,758 GFLOP/s."""
    for steps, flops in ((FORWARD, 234.6e9), (BACKWARD, 469.3e9)):
        products = [step for step in steps if step.ours[0] == "gemm"]
        assert sum(step.num_units for step in products) == pytest.approx(flops, rel=5e-4)
        (low, high), stock = add_up(time_steps(products, {}, stock_of()))
        assert (low, high) == stock == pytest.approx((flops / 6758.4e6, 2 * flops / 6758.4e6), rel=2e-3)


def test_every_step_has_its_case_of_stock_torch():
    assert {step.stock for step in (*FORWARD, *BACKWARD)} | {SERIAL} == STOCK_CASES.keys()
    assert all(case["case"].startswith("torch ") for case in STOCK_CASES.values())


def test_ours_stand_where_we_have_them_and_nothing_is_faster_than_memory():
    ours = {("dropout", "plain"): Cycles(0.0, 1e6)}
    times = {time.step.name: time for time in time_steps(FORWARD, ours, stock_of(others=1.0))}
    dropout = times["attention dropout"]
    assert dropout.is_ours and not times["PV"].is_ours
    assert dropout.ms[0] == pytest.approx(8 * 6 * 2048**2 / 1024e9 * 1e3)  # in no time, but its bytes have to move
    assert dropout.ms[1] == pytest.approx(6 * 2048**2 * 1e6 / 48 / 2.2e9 * 1e3)
    assert times["PV"].ms == times["PV"].stock_ms


def test_attention_in_one_stands_for_all_its_steps():
    stock = stock_of(others=1.0)
    apart = time_steps(FORWARD, {}, stock)
    times = time_steps(FORWARD, {("attention", "forward"): Cycles(0.01, 0.02)}, stock)
    names = [time.step.name for time in times]
    assert len(times) == len(FORWARD) - 3 and names[2] == "attention" and not {"QK^T", "PV"} & set(names)
    replaced = [time for time in apart if time.step.name in ("QK^T", "scale, mask, softmax", "attention dropout", "PV")]
    assert times[2].is_ours and times[2].stock_ms[0] == pytest.approx(sum(time.stock_ms[0] for time in replaced))
    assert times[2].ms == pytest.approx([4 * 6 * 2048**2 * 144 * cycles / 48 / 2.2e6 for cycles in (0.01, 0.02)])
    assert add_up(times)[1] == pytest.approx(add_up(apart)[1])
    backward = time_steps(BACKWARD, {("attention", "backward"): Cycles(0.01, 0.02)}, stock)
    assert len(backward) == len(BACKWARD) - 5 and sum(time.step.name == "attention dropout" for time in backward) == 0


def test_what_one_thread_draws_is_not_shared():
    times = {time.step.name: time for time in time_steps(FORWARD, {}, stock_of(others=25.0, serial=23.0))}
    assert times["attention dropout"].stock_ms[0] == pytest.approx(6 * 2048**2 * (23 + 2 / 48) / 2.2e9 * 1e3)
    assert times["scale, mask, softmax"].stock_ms[0] == pytest.approx(6 * 2048**2 * 25 / 48 / 2.2e9 * 1e3)


def test_the_table_has_all_steps_and_sums():
    passes = {"forward": time_steps(FORWARD, {}, stock_of()), "backward": time_steps(BACKWARD, {}, stock_of())}
    text = render_score(passes, "2.10.0")
    assert len(text.splitlines()) == 2 + len(FORWARD) + len(BACKWARD) + 2
    assert "torch 2.10.0 alone" in text and "\nFORWARD" in text and "modelled, not measured" in text


def test_the_picture_has_a_roof_for_every_step(tmp_path):
    pytest.importorskip("matplotlib")
    passes = {"forward": time_steps(FORWARD, {("dropout", "plain"): Cycles(0.6, 0.8)}, stock_of(others=4.0)),
              "backward": time_steps(BACKWARD, {}, stock_of(others=4.0))}
    assert all(time.step.roof_ms <= time.ms[0] * (1 + 1e-9) for times in passes.values() for time in times)
    plot_score(tmp_path / "score.svg", passes, "2.10.0")
    assert (tmp_path / "score.svg").read_text().count("<svg") == 1
    with pytest.raises(EnvironmentError, match="cannot be written"):
        plot_score(tmp_path / "score.words", passes, "2.10.0")
    with pytest.raises(EnvironmentError, match="no score to draw"):
        plot_score(tmp_path / "none.svg", {}, "")
    assert [path.name for path in tmp_path.iterdir()] == ["score.svg"]
