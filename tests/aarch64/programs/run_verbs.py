"""Runs verbs of `mfugaku` one after the other in one process, whose imports take longest on an emulated processor.

argv[1] names a JSON file with the arguments of each, [["doctor"], ["patches", "check"]]; to argv[2] goes a JSON list
with the exit status and the output of each.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

from megatron_fugaku.cli import main

outcomes = []
for arguments in json.loads(Path(sys.argv[1]).read_text()):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(arguments)
    outcomes.append({"status": status, "said": said.getvalue()})
Path(sys.argv[2]).write_text(json.dumps(outcomes))
