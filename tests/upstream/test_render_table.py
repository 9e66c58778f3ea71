"""What the rules say of messages that upstreams' tests have given, and the table that is made of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from upstream.render_table import classify, count_runnable, over_all, read_results, render, shorten
from upstream.reports import Report, Result
from upstream.results import TITLES, find_archive, read_archive, render_page, write_archive
from upstream.rules import ABSENT, DECLARED, EXCLUDED, RULES, SKIPPED, find_reason


@pytest.mark.parametrize(("why", "reason"), [
    ("NameError: name 'TESpecProvider' is not defined", "Transformer Engine"),
    ("Skipped: Requires TE >= 1.9.0.dev0", "Transformer Engine"),
    ("Skipped: Partial CUDA graph support requires TransformerEngine version >= 2.10.0", "CUDA graphs"),
    ("NameError: name 'FP8GlobalStateManager' is not defined", "FP8 or FP4"),
    ("Skipped: could not import 'amp_C': No module named 'amp_C'", "Apex"),
    ("RuntimeError: world_size (1) is not divisible by 8", "more ranks"),
    ("RuntimeError: Grid shape [2, 2, 2] is over sized with world size 1 and rank offset 0", "more ranks"),
    ("Skipped: This test specifically requires 8 GPUs", "more ranks"),
    ("requests.exceptions.ConnectionError: HTTPSConnectionPool(host='s3.amazonaws.com', port=443)", "network"),
    ("E   ModuleNotFoundError: No module named 'torchvision'", "a package"),
    ("AssertionError: Torch not compiled with CUDA enabled", "a GPU"),
    ("Skipped: Skipping test case when both use_split and fast_cache_load are True", "left out by upstream"),
    ("AssertionError: assert False", ""),
    ("ModuleNotFoundError: No module named 'megatron.core.nothing'", ""),
    ("TypeError: device(): argument 'index' (position 2) must be int, not torch.device", ""),
    ("nothing was reported for 180 s", ""),
    ("Failed: Timeout (>120.0s) from pytest-timeout.", ""),
    ("assert torch.equal(a, b)", ""),
])
def test_a_message_shows_the_reason_or_it_is_a_failure(why, reason):
    assert find_reason("tests/test_x.py::test_y", why) == reason


def test_reasons_have_columns():
    assert {reason for reason, *_ in (*RULES, *DECLARED)} <= {*EXCLUDED, SKIPPED, *ABSENT}


def test_a_declared_test_may_pass_all_the_same():
    test = "tests/unit_tests/test_optimizer_cpu_offloading.py::test_multi_device_hybrid_optimizer[x]"
    assert classify(test, Result("failed", "KeyError")) == "a GPU"
    assert classify(test, Result("passed")) == "passed"
    assert classify(test, Result("not run", "the time limit of the folder was reached")) == "not run"


def test_the_table_counts_every_test_and_names_every_failure(tmp_path):
    one = Report({"a.py::t[1]": Result("failed", "world_size (1) is not divisible by 2"), "a.py::u": Result("passed")})
    two = Report({"a.py::t[1]": Result("passed"), "a.py::u": Result("crashed", "exit code 139"),
                  "a.py::v": Result("failed", "NameError: name 'TENorm' is not defined")},
                 {"b.py": Result("failed", "E   ModuleNotFoundError: No module named 'transformer_engine'")})
    one.write(tmp_path / "ranks_1" / "tests.x.json")
    two.write(tmp_path / "ranks_2" / "tests.x.json")
    results = read_results(tmp_path)
    assert list(results) == [1, 2] and list(results[1]) == ["tests/x"]
    assert over_all(results) == {"a.py::t[1]": "passed", "a.py::u": "failed", "a.py::v": "Transformer Engine",
                                 "b.py": "Transformer Engine"}
    lines = render("Upstream 1.0", results, "What was run.").splitlines()
    assert lines[:3] == ["# Upstream 1.0", "", "What was run."]
    assert [line for line in lines if line.startswith(("| 1 |", "| 2 |", "| all", "- `a"))] == [
        "| 1 | 2 | 1 | 1 of 2 (50.0%) | 1 of 1 (100.0%) |  |  |  |  |  |  |  |  |  | 1 |  |  |  |",
        "| 2 | 4 | 1 | 1 of 2 (50.0%) | 1 of 2 (50.0%) | 1 |  | 2 |  |  |  |  |  |  |  |  |  |  |",
        "| all together | 4 | 1 | 1 of 2 (50.0%) | 1 of 2 (50.0%) | 1 |  | 2 |  |  |  |  |  |  |  |  |  |  |",
        "- `a.py::u` on 2 ranks: exit code 139"]


def test_what_is_run_again_takes_the_place_of_what_was_and_else_it_stays():
    old = Report({"a.py::t": Result("failed", "x"), "a.py::u": Result("passed")}, {"b.py": Result("failed", "y")})
    new = Report({"a.py::t": Result("passed"), "a.py::u": Result("not run"), "b.py::v": Result("passed")},
                 {"a.py": Result("not run")})
    assert old.merge(new).tests == {"a.py::t": Result("passed"), "a.py::u": Result("passed"),
                                    "b.py::v": Result("passed")}
    assert not old.broken


def test_a_message_is_cut_to_what_says_most():
    assert shorten("ImportError while importing\nTraceback:\nE   ModuleNotFoundError: No module named 'x'") == \
        "ModuleNotFoundError: No module named 'x'"
    assert shorten("<Thing at 0x7f00aa>|") == "<Thing at 0x…>\\|" and len(shorten("a" * 300)) == 160


def test_what_is_kept_is_what_was_reported(tmp_path, monkeypatch):
    failed = Result("failed", "what | it\nsaid", "a.py:3", 0.5)
    report = Report({"a.py::t[1]": failed}, {"b.py": Result("crashed")}, 9.0, 2)
    monkeypatch.setattr("upstream.results.HERE", tmp_path)
    write_archive("deepspeed", {2: {"unit/x": report}})
    assert read_archive("deepspeed") == {2: {"unit/x": report}}


@pytest.mark.parametrize("upstream", [upstream for upstream in TITLES if find_archive(upstream).exists()])
def test_a_page_is_what_the_kept_results_and_the_rules_say(upstream):
    page = Path(__file__).with_name(f"{upstream}.md").read_text(encoding="utf-8")
    assert page == render_page(upstream, read_archive(upstream)), f"python tests/upstream/results.py pack {upstream} …"


@pytest.mark.parametrize("upstream", TITLES)
def test_of_upstreams_tests_for_cpus_at_least_85_percent_passed(upstream):
    became = Counter(over_all(read_archive(upstream)).values())
    assert became.total() > 1500
    assert became["passed"] >= 0.85 * count_runnable(became)
