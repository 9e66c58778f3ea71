"""Count the instructions of all kernels on an A64FX; started by a person, it rewrites the baseline of the tests:

    python tests/golden/count_kernels.py

Look at what `git diff tests/golden` says before committing: a case with more instructions than before became slower.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from megatron_fugaku.bench.a64fx_counts import build_bench, build_counter, describe_compiler
from megatron_fugaku.bench.kernels import count_cases

BASELINE = Path(__file__).with_name("kernel_counts.json")
COMPILER = "gcc"


def load_baseline() -> dict[str, dict[str, int]]:
    """Return instructions by compiler, as in ``gcc 12.2.0``, and case."""
    return json.loads(BASELINE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        program, counter = build_bench(Path(folder), COMPILER), build_counter(Path(folder))
        counts = {count.case["case"]: count.region.instructions for count in count_cases(program, counter, model=False)}
    baseline = load_baseline() if BASELINE.exists() else {}
    baseline[describe_compiler(COMPILER)] = counts
    BASELINE.write_text(json.dumps(baseline, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{BASELINE.name}: {len(counts)} cases of {describe_compiler(COMPILER)}")
