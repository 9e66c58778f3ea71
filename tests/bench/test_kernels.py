"""``mfugaku bench kernels``: instructions of the kernels against the committed baseline, records, tables, the verb."""

from __future__ import annotations

import json

import pytest
from golden.count_kernels import COMPILER, load_baseline

from megatron_fugaku import cli
from megatron_fugaku.bench import a64fx_counts, kernels
from megatron_fugaku.bench.a64fx_counts import Region
from megatron_fugaku.bench.a64fx_cycles import Cycles
from megatron_fugaku.bench.a64fx_loops import HotLoop, judge_hot_loops
from megatron_fugaku.bench.kernel_peers import PeerCount
from megatron_fugaku.bench.kernel_score import STOCK_CASES
from megatron_fugaku.bench.kernels import Balance, CaseCount, Outcome, Plan, compare, render_report

MOST_GROWTH = 1.01
REFRESH = "if that is meant, run: .venv/bin/python tests/golden/count_kernels.py"


def find_regressions(counts: dict[str, int], baseline: dict[str, int]) -> list[str]:
    """Cases that need more instructions than they may, and those of which one side knows nothing."""
    found = [f"{name}: not in the baseline" for name in counts.keys() - baseline.keys()]
    found += [f"{name}: in the baseline alone" for name in baseline.keys() - counts.keys()]
    found += [f"{name}: {count} instructions, {100 * (count / baseline[name] - 1):+.1f} %"
              for name, count in counts.items() if name in baseline and count > MOST_GROWTH * baseline[name]]
    return sorted(found)


def test_a_regression_of_more_than_one_percent_is_found():
    baseline = {"a": 1000, "b": 1000, "c": 1000}
    assert find_regressions({"a": 1010, "b": 900, "c": 1000}, baseline) == []
    assert find_regressions({"a": 1011, "b": 1000, "d": 1}, baseline) == [
        "a: 1011 instructions, +1.1 %", "c: in the baseline alone", "d: not in the baseline"]


@pytest.fixture(scope="module")
def counts(kernel_bench, counter) -> dict[str, CaseCount]:
    return {count.case["case"]: count for count in kernels.count_cases(kernel_bench, counter, model=False)}


def test_no_kernel_needs_more_instructions_than_the_baseline(counts):
    compiler = a64fx_counts.describe_compiler(COMPILER)
    baseline = load_baseline()
    if compiler not in baseline:
        pytest.skip(f"the baseline has no counts of {compiler}, only of {', '.join(baseline)}")
    instructions = {name: count.region.instructions for name, count in counts.items()}
    regressions = find_regressions(instructions, baseline[compiler])
    assert not regressions, REFRESH


def test_the_kernels_are_sve_code(counts):
    for name, count in counts.items():
        assert count.case["vector_bytes"] == 64
        classes = count.region.classes
        vector, other = (sum(number for kind, number in classes.items() if kind.startswith(kinds))
                         for kinds in ("sve", ("neon", "scalar")))
        assert vector > 10 * other, name  # short rows have a few scalars each
        assert count.per_unit == count.region.instructions / count.case["num_units"]


def test_counts_repeat(counts, kernel_bench, counter):
    """To the instruction, and whatever else runs before a case."""
    [again] = kernels.count_cases(kernel_bench, counter, ["dropout plain float32"], model=False)
    assert again == counts[again.case["case"]]


@pytest.mark.usefixtures("llvm_tools")
def test_the_innermost_loop_of_products_reaches_the_peak_and_spills_nothing(counts):
    names = [name for name, count in counts.items() if (count.case["op"], count.case["dtype"]) == ("gemm", "float32")]
    loops = judge_hot_loops(names, [counts[name].region for name in names])
    assert len(loops) == len(names) > 0
    for loop in loops:
        assert loop.share_of_peak >= 0.99 and loop.num_stack_accesses == 0, loop.case


def test_threads_are_found_to_share_a_case(kernel_bench, counter):
    """Small, for the emulator's time: two threads have enough to do."""
    [two] = kernels.count_balance(kernel_bench, counter, 2, ["bias_gelu forward float32"], whole=False)
    assert two.unit == "multiply-adds" and two.num_busy == 2 and 1 <= two.imbalance <= 1.02
    assert 0 < two.redundancy < 0.01  # they meet
    [four] = kernels.count_balance(kernel_bench, counter, 4, ["bias_gelu forward float32"], whole=False)
    assert four.num_busy == 2 and four.imbalance == pytest.approx(2 * two.imbalance)
    [mask] = kernels.count_balance(kernel_bench, counter, 2, ["dropout plain float32"], whole=False)
    assert mask.unit == "instructions" and mask.num_busy == 2 and mask.imbalance <= 1.05


def test_what_no_model_calls_has_no_whole_shape(kernel_bench, counter):
    assert kernels.count_balance(kernel_bench, counter, 48, ["reduce sum"]) == []
    assert kernels.list_cases(kernel_bench, "--whole", "x2048x2048") != []


CASE = {"case": "bias_gelu forward float32 8x3456", "op": "bias_gelu", "variant": "forward", "dtype": "float32",
        "shape": [8, 3456], "unit": "element", "num_units": 1000, "num_bytes": 8000, "vector_bytes": 64,
        "deep": False}
PRODUCT = {"case": "gemm nt float32 8x8x8", "op": "gemm", "variant": "nt", "dtype": "float32", "shape": [8, 8, 8],
           "unit": "flop", "num_units": 1024, "num_bytes": 768, "vector_bytes": 64, "deep": True}
STOCK = PeerCount("2.10.0", 7.4, Cycles(3.3, 4.3))


def count_of(case: dict, instructions: int, cycles: Cycles) -> CaseCount:
    return CaseCount(case, Region(instructions, {}, ()), cycles)


def outcome_of(*counts: CaseCount, peers=None, balances=(), hot_loops=()) -> Outcome:
    no_peers = "" if peers else "there is none"
    return Outcome("gcc 12.2.0", counts, peers or {}, no_peers, tuple(balances), tuple(hot_loops))


def test_records_compare_with_stock_torch_and_with_what_is_asked_for():
    count = count_of(CASE, 1850, Cycles(500, 1000))
    records = compare(outcome_of(count, peers={CASE["case"]: STOCK}))
    lines = [json.loads(record.to_json()) for record in records]
    shown = [tuple(line[name] for name in ("metric", "value", "peer", "peer_value", "target", "ok")) for line in lines]
    torch = "torch 2.10.0 for aarch64"
    assert shown == [
        ("instructions_per_element", 1.85, torch, 7.4, None, None),
        ("instructions_per_element", 1.85, "at most", 1.7, 1, False),
        ("cycles_low_per_element", 0.5, torch, 3.3, None, None),
        ("cycles_high_per_element", 1.0, torch, 4.3, None, None)]
    assert lines[0]["ratio"] == pytest.approx(4) and lines[0]["benchmark"] == "kernels"
    assert lines[0]["case"] == "bias_gelu forward float32 8x3456 gcc 12.2.0"


def test_products_are_compared_with_the_peak():
    """64 flops a cycle: 1,024 flops take 16 cycles."""
    at_peak, slow = (compare(outcome_of(count_of(PRODUCT, 52, Cycles(16, high)))) for high in (16, 17))
    [high] = [record for record in at_peak if record.metric == "cycles_high_per_flop" and record.peer == kernels.PEAK]
    assert high.ratio == pytest.approx(1) and high.ok is True
    assert [record.ok for record in slow if record.target == 0.95] == [False]
    [instructions] = [record for record in at_peak if record.peer == kernels.ASKED]
    assert instructions.ok is True and instructions.peer_value == 0.053


def test_the_loop_of_a_product_is_compared_with_the_peak_too():
    """One multiply-add a cycle is half of the peak; loops of other cases have none to reach."""
    product, other = count_of(PRODUCT, 52, Cycles(16, 16)), count_of(CASE, 1850, Cycles(500, 1000))
    loops = [HotLoop(case["case"], 0.9, ["fmla z0.s, p0/m, z1.s, z2.s"], (0.5, 1.0), None) for case in (PRODUCT, CASE)]
    records = [record for record in compare(outcome_of(product, other, hot_loops=loops)) if "inner loop" in record.case]
    assert [(record.case.split()[0], record.metric, record.ratio, record.target, record.ok) for record in records] == [
        ("gemm", "cycles_low_per_flop", 1.0, None, None), ("gemm", "cycles_high_per_flop", 0.5, 0.99, False)]


def test_what_short_cases_overstate_is_asked_of_deep_ones():
    """A small case of a product, of attention and of causal softmax is there to show changes."""
    softmax = CASE | {"op": "softmax", "variant": "forward causal"}
    for case in (PRODUCT, PRODUCT | {"op": "attention", "variant": "forward"}, softmax):
        small, deep = (compare(outcome_of(count_of(case | {"deep": deep}, 5200, Cycles(1600, 1700))))
                       for deep in (False, True))
        assert [record.ok for record in small if record.ok is not None] == []
        assert {record.ok for record in deep if record.ok is not None} == {False}
    plain = compare(outcome_of(count_of(softmax | {"variant": "forward"}, 1400, Cycles(500, 1000))))
    assert [record.ok for record in plain if record.peer == kernels.ASKED] == [True]


def test_the_score_takes_deep_cases_where_there_are_any():
    peers = {case["case"]: STOCK for case in STOCK_CASES.values()}
    small = PRODUCT | {"deep": False}
    [slow, fast, both] = [kernels.score(outcome_of(*counts, peers=peers))["forward"] for counts in (
        [count_of(small, 52, Cycles(20, 22))], [count_of(PRODUCT, 52, Cycles(16, 17))],
        [count_of(PRODUCT, 52, Cycles(16, 17)), count_of(small, 52, Cycles(20, 22))])]
    assert both == fast != slow


def test_deep_cases_have_the_lengths_of_the_13b_model(kernel_bench):
    cases = kernels.list_cases(kernel_bench, kernels.DEEP)
    assert {case["op"] for case in cases} == {"attention", "gemm", "softmax"}
    assert all(case["deep"] and (2048 in case["shape"] or case["shape"] == [1, 576, 864, 864]) for case in cases)
    assert not any(case["deep"] for case in kernels.list_cases(kernel_bench))


def test_products_in_float16_are_compared_with_those_in_float32_and_with_float64():
    halves = PRODUCT | {"case": "gemm_fp16 nt float16 8x8x8", "op": "gemm_fp16", "dtype": "float16", "error": 0.002}
    other = halves | {"variant": "nn"}
    outcome = outcome_of(count_of(PRODUCT, 52, Cycles(17, 18)), count_of(halves, 28, Cycles(10, 12)),
                         count_of(other, 28, Cycles(9, 9)))
    records = compare(outcome)
    speedups = [record for record in records if record.peer == kernels.WIDE]
    assert [(record.metric, record.ok) for record in speedups] == [
        ("cycles_low_per_flop", True), ("cycles_high_per_flop", False)]
    assert speedups[1].ratio == pytest.approx(1.5) and speedups[1].target == 1.7
    errors = [record for record in records if record.metric == "error"]
    assert [(record.value, record.ok) for record in errors] == [(0.002, False)] * 2
    assert "0.00200" in render_report(outcome, records)


def test_the_balance_counts_threads_that_have_nothing_to_do():
    even = Balance(CASE, "multiply-adds", 48, 100, 100.0, 1020, 1000)
    idle = Balance(CASE, "multiply-adds", 6, 800, 100.0, 1040, 1000)
    records = compare(outcome_of(balances=[even, idle]))
    assert [record.ok for record in records] == [True, True, False, False]
    assert records[2].ratio == pytest.approx(1 / 8) and "6 busy threads" in records[2].case
    report = render_report(outcome_of(balances=[even, idle]), records)
    assert "! 1.02" in report and "8.0000" in report and "2 of 4 targets met" in report
    assert "2.00 %" in report and "! 3 %" in report


def test_the_report_marks_what_is_not_reached_and_says_why_torch_is_missing():
    count = count_of(CASE, 1850, Cycles(500, 1000))
    outcome = outcome_of(count)
    report = render_report(outcome, compare(outcome))
    assert "! 1.7" in report and "0.500 - 1.000" in report and "Without stock torch: there is none" in report
    assert "A64FX score" not in report
    outcome = outcome_of(count, peers={CASE["case"]: STOCK})
    report = render_report(outcome, compare(outcome))
    assert "3.300 - 4.300" in report and "Without" not in report
    assert kernels.memory_cycles(CASE) == pytest.approx(8 / (1024e9 / 48 / 2.2e9))


def test_the_score_is_there_when_all_of_stock_torch_is():
    peers = {case["case"]: STOCK for case in STOCK_CASES.values()}
    outcome = outcome_of(count_of(CASE, 1850, Cycles(500, 1000)), peers=peers)
    report = render_report(outcome, compare(outcome))
    assert "A64FX score" in report and "forward: bias, GELU" in report
    times = [record for record in compare(outcome) if record.metric.startswith("modelled_time")]
    assert len(times) == 4 and all(record.unit == "ms" and record.value < record.peer_value for record in times[:2])


def test_the_slowest_of_several_cases_stands_in_the_score():
    peers = {case["case"]: STOCK for case in STOCK_CASES.values()}
    counts = [count_of(CASE | {"case": str(high)}, 1850, Cycles(500, high)) for high in (1000, 3000, 2000)]
    [gelu] = [time for time in kernels.score(outcome_of(*counts, peers=peers))["forward"]
              if time.step.name == "bias, GELU"]
    assert gelu.is_ours and gelu.ms[1] == pytest.approx(3 * 2048 * 3456 / 48 / 2.2e9 * 1e3)


@pytest.mark.usefixtures("llvm_tools")
def test_the_verb_prints_a_table_and_writes_records(counter, tmp_path, capsys):
    path = tmp_path / "records.jsonl"
    assert cli.main(["bench", "kernels", "--target", "a64fx", "--cases", "bias_gelu forward float32", "--threads", "0",
                     "--no-peers", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "bias_gelu forward float32 8x3456" in printed and "stock torch was not asked for" in printed
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["metric"] for record in records] == ["instructions_per_element"] * 2 + [
        "cycles_low_per_element", "cycles_high_per_element"]
    assert records[0]["value"] / 4 <= records[2]["value"] <= records[3]["value"] < 4
    assert list(records[0]) == ["benchmark", "case", "metric", "value", "unit", "peer", "peer_value", "ratio", "target",
                                "ok"]


def test_the_verb_times_this_machine_too(tmp_path, capsys):
    path = tmp_path / "records.jsonl"
    assert cli.main(["bench", "kernels", "--target", "here", "--cases", "bias + GELU", "--json", str(path)]) == 0
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["metric"] for record in records] == ["cpu_time_per_call"] * 2
    assert "bias + GELU float32" in capsys.readouterr().out


@pytest.mark.usefixtures("llvm_tools")
def test_a_word_that_is_in_no_name_is_an_error(counter, capsys):
    assert cli.main(["bench", "kernels", "--target", "a64fx", "--cases", "dropuot"]) == 2
    assert "'dropuot' is in the name of no case" in capsys.readouterr().err


def test_a_negative_number_of_threads_is_an_error(capsys):
    assert cli.main(["bench", "kernels", "--target", "a64fx", "--threads", "-1"]) == 2
    assert "--threads is -1" in capsys.readouterr().err


def test_a_plan_asks_for_the_balance_over_48_threads():
    assert Plan().num_threads == 48 and Plan().peers
