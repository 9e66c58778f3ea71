"""Render the job scripts of the 13B run; started by a person, it rewrites the golden files:

    python tests/golden/render_jobs.py

Look at what `git diff tests/golden` says before committing: it is what users would submit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from megatron_fugaku.config import check_config, load_config
from megatron_fugaku.launch.job import render_job

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "examples" / "fugaku_13b" / "fugaku_13b.yaml"
GOLDEN = Path(__file__).parent / "fugaku_13b"


def render_golden() -> dict[str, str]:
    """Return the text of every golden file by its name; 13,824 lines of placement stand as their digest."""
    config = load_config(CONFIG)
    check_config(config, files=False)
    files = {}
    for system in ("pjm", "slurm"):
        for name, text in render_job(config, system, "jobs/fugaku_13b").files.items():
            if name == "vcoordfile":
                name, text = "vcoordfile.sha256", hashlib.sha256(text.encode()).hexdigest() + "\n"
            files[f"{system}/{name}"] = text
    return files


if __name__ == "__main__":
    for name, text in render_golden().items():
        path = GOLDEN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
