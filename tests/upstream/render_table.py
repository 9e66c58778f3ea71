"""Renders what ``run_upstream.py`` kept as a table in Markdown, with the failures and what each says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from upstream.reports import Report, Result
from upstream.rules import ABSENT, DECLARED, EXCLUDED, SKIPPED, find_reason

FAILED, NOT_RUN = "failed", "not run"


def classify(test: str, result: Result) -> str:
    """Return "passed", "failed", or what the test needs."""
    if result.how == "passed":
        return "passed"
    if result.how == NOT_RUN:
        return NOT_RUN
    return find_reason(test, result.why) or FAILED


def read_results(folder: Path) -> dict[int, dict[str, Report]]:
    """Return the reports by number of ranks and by folder of the tests."""
    return {int(ranks.name.removeprefix("ranks_")): dict(sorted(
                (path.stem.replace(".", "/"), Report.read(path)) for path in ranks.glob("*.json")))
            for ranks in sorted(folder.glob("ranks_*"), key=lambda path: int(path.name.removeprefix("ranks_")))}


def count_runnable(counts: Counter[str], beside: tuple[str, ...] = ()) -> int:
    """Return how many are neither excluded, nor skipped everywhere, nor, by ``beside``, without what they need."""
    return sum(number for kind, number in counts.items() if kind not in (NOT_RUN, SKIPPED, *EXCLUDED, *beside))


def share(counts: Counter[str], beside: tuple[str, ...] = ()) -> str:
    """Say how many passed of those that :func:`count_runnable` counts."""
    total = count_runnable(counts, beside)
    return f"{counts['passed']} of {total} ({counts['passed'] / max(total, 1):.1%})"


def _counts(report: Report) -> Counter[str]:
    return Counter(classify(test, result) for test, result in (*report.tests.items(), *report.broken.items()))


def over_all(results: dict[int, dict[str, Report]]) -> dict[str, str]:
    """Return what became of each test: failed where it failed in any run, else passed where it passed in any, else what
    the run on the most ranks says that it needs."""
    kinds: dict[str, set[str]] = {}
    latest: dict[str, str] = {}
    for reports in results.values():
        for report in reports.values():
            for test, result in (*report.tests.items(), *report.broken.items()):
                latest[test] = classify(test, result)
                kinds.setdefault(test, set()).add(latest[test])
    return {test: next((kind for kind in (FAILED, "passed") if kind in kinds[test]), latest[test]) for test in latest}


def render(title: str, results: dict[int, dict[str, Report]], notes: str = "") -> str:
    """Return the page."""
    return "\n".join(_lines(title, results, notes)) + "\n"


def _lines(title: str, results: dict[int, dict[str, Report]], notes: str) -> Iterator[str]:
    needs = (*EXCLUDED, SKIPPED, *ABSENT)
    yield f"# {title}"
    yield ""
    if notes:
        yield notes.strip()
        yield ""
    yield ("A file that could not be imported counts as one test. The first share leaves out the tests that need "
           f"{', '.join(EXCLUDED)}, and those that upstream itself leaves out; the second one also those that need "
           f"{', '.join(ABSENT[:-1])}, and those that fail on GPUs too. All together, a test has failed that failed on "
           "any number of ranks, and passed that passed on any. What a limit of time left out is in no share.")
    yield ""
    yield from _head("ranks", needs)
    for num_ranks, reports in results.items():
        yield _row(str(num_ranks), sum((_counts(report) for report in reports.values()), Counter()), needs)
    if len(results) > 1:
        yield _row("all together", Counter(over_all(results).values()), needs)
    yield ""
    for num_ranks, reports in results.items():
        yield f"## {num_ranks} rank{'s' * (num_ranks > 1)}"
        yield ""
        yield from _head("folder", needs)
        for folder, report in reports.items():
            yield _row(folder, _counts(report), needs)
        yield ""
    yield "## Failures"
    yield ""
    for test, places, result in _failures(results):
        where = f" (`{shorten_place(result.where)}`)" if result.where else ""
        yield f"- `{test}` on {places}: {shorten(result.why)}{where}"
    if DECLARED:
        yield ""
        yield "## Declared"
        yield ""
        for reason, pattern, why in DECLARED:
            yield f"- `{pattern}` needs {reason}: {why}"


def _head(first: str, needs: tuple[str, ...]) -> Iterator[str]:
    yield f"| {first} | tests | passed | of those for CPUs | of those that could run | failed | not run | " + \
        " | ".join(needs) + " |"
    yield "|---" * (7 + len(needs)) + "|"


def _row(name: str, counts: Counter[str], needs: tuple[str, ...]) -> str:
    cells = [name, counts.total(), counts["passed"], share(counts), share(counts, ABSENT), counts[FAILED],
             counts[NOT_RUN], *(counts[need] for need in needs)]
    return "| " + " | ".join(str(cell or "") for cell in cells) + " |"


def _failures(results: dict[int, dict[str, Report]]) -> Iterator[tuple[str, str, Result]]:
    """Failures by function, its parameters counted: the tests, where, and one of the results."""
    groups: dict[tuple[str, str], list[tuple[int, Result]]] = {}
    for num_ranks, reports in results.items():
        for report in reports.values():
            for test, result in (*report.tests.items(), *report.broken.items()):
                if classify(test, result) == FAILED:
                    groups.setdefault((test.partition("[")[0], shorten(result.why)), []).append((num_ranks, result))
    for (function, _), found in sorted(groups.items()):
        by_ranks = Counter(num_ranks for num_ranks, _ in found)
        places = ", ".join(f"{num_ranks} rank{'s' * (num_ranks > 1)}" + (f" ({number} times)" if number > 1 else "")
                           for num_ranks, number in sorted(by_ranks.items()))
        yield function, places, found[0][1]


def shorten(why: str) -> str:
    """The line of a message that says most, short and without addresses."""
    lines = [line.strip() for line in why.splitlines() if line.strip()] or ["no message"]
    telling = next((line for line in reversed(lines) if line.startswith("E ")), lines[0]).removeprefix("E ").strip()
    telling = re.sub(r"0x[0-9a-f]+", "0x…", telling).replace("|", "\\|")
    return telling if len(telling) <= 160 else telling[:159] + "…"


def shorten_place(where: str) -> str:
    """A place without the folders that only this machine has."""
    return re.sub(r"^.*/(?=(site-packages|python3\.\d+|megatron_fugaku|megatron|deepspeed|tests)/)", "", where)
