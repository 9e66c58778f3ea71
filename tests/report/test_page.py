import re
import sys
from html.parser import HTMLParser

import pytest

from megatron_fugaku.cli import main
from megatron_fugaku.errors import DataError, EnvironmentError
from megatron_fugaku.report import save_report
from megatron_fugaku.report.page import load_run, render_page

VOID = {"meta", "br", "link", "img", "hr"}


class Checker(HTMLParser):
    """Collects ids and remote references and checks that elements are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        self.references += [value for name, value in attrs.items() if name in ("src", "href", "xlink:href")]
        assert tag != "script"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def checked(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def test_page_needs_nothing_but_itself(page, checked):
    assert all(reference.startswith("#") for reference in checked.references)
    assert not re.search(r"@import|url\((?!#)", page)


def test_every_reference_has_one_target(page, checked):
    targets = {reference[1:] for reference in checked.references} | set(re.findall(r"url\(#([^)]*)\)", page))
    assert targets <= set(checked.ids)
    assert len(checked.ids) == len(set(checked.ids))


def test_page_says_what_happened(checked):
    text = " ".join("".join(checked.text).split())
    assert "trained on 410 k tokens in 200 steps on 4 ranks (tensor 2 × pipeline 2 × data 1)" in text
    assert "It was resumed after step 120." in text
    assert re.search(r"7 of the 7 steps trained twice \(121 to 127\) differ, in the loss by at most 0\.\d+", text)
    assert re.search(r"bubble, .* is 1[1-4]\.\d% of the pipeline's time; .* it would be 11\.1%", text)
    assert "日本の首都は、東京である。<設定ファイル>" in text
    assert "parallel.tensor_model_parallel_size" in text and "cpu-rng-tracker" in text
    for heading in ("Learning", "Speed", "Pipeline timeline", "Sample text", "Settings"):
        assert heading in text


def test_pictures_follow_the_theme(page):
    assert page.count("<svg ") == 5
    assert not re.search(r"#fa[0-9a-f]{2}ce", page)
    assert "var(--forward)" in page and "prefers-color-scheme:dark" in page


def test_the_same_folder_gives_the_same_page(run_folder):
    assert render_page(load_run(run_folder)) == render_page(load_run(run_folder))


def test_a_run_that_is_still_going_has_a_report(run_folder):
    lines = (run_folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run_folder / "metrics.jsonl").write_text("".join(lines[:5]) + '{"event":"tr')
    for name in ("manifest.json", "samples.jsonl"):
        (run_folder / name).unlink()
    for path in (run_folder / "timeline").iterdir():
        path.unlink()
    page = render_page(load_run(run_folder))
    assert "still running, or killed after step 4" in page and "Line 6 of metrics.jsonl is cut off" in page
    assert "Pipeline timeline" not in page and "Sample text" not in page


def test_a_run_before_its_first_step_has_a_report(run_folder):
    first = (run_folder / "metrics.jsonl").read_text().splitlines(keepends=True)[0]
    (run_folder / "metrics.jsonl").write_text(first)
    assert "has not finished a step yet" in render_page(load_run(run_folder))


def test_steps_that_are_all_skipped_have_a_report(run_folder):
    text = (run_folder / "metrics.jsonl").read_text()
    text = re.sub(r'"(lm_loss|grad_norm|perplexity)": [^,}]*', r'"\1": NaN', text)
    (run_folder / "metrics.jsonl").write_text(text.replace('"skipped": false', '"skipped": true'))
    page = render_page(load_run(run_folder))
    assert "not finite" in page and "skipped steps" in page


def test_errors(tmp_path, run_folder):
    with pytest.raises(DataError, match=r"not a run folder: it has no config\.yaml"):
        save_report(tmp_path)
    (run_folder / "metrics.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no metrics\.jsonl"):
        save_report(run_folder)
    assert not (run_folder / "report.html").exists()


def test_without_matplotlib_the_error_says_what_to_install(run_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EnvironmentError, match=r"megatron-fugaku\[login\]"):
        save_report(run_folder)


def test_command_writes_report_and_trace(run_folder, tmp_path, capsys):
    trace = tmp_path / "trace.json"
    assert main(["report", str(run_folder), "--trace", str(trace)]) == 0
    assert (run_folder / "report.html").stat().st_size > 50_000 and trace.is_file()
    assert "report.html" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "nowhere")]) == 7
    assert "not a run folder" in capsys.readouterr().err
