"""``python -m megatron_fugaku.comm script.py ...``: run an unmodified script with the MPI backend registered."""

import runpy
import sys
from pathlib import Path

from megatron_fugaku.comm import install_excepthook

if len(sys.argv) < 2:
    sys.exit("usage: python -m megatron_fugaku.comm script.py [argument ...]")
install_excepthook()
sys.argv = sys.argv[1:]
sys.path[0] = str(Path(sys.argv[0]).resolve().parent)  # where Python lets a script find the modules beside it
runpy.run_path(sys.argv[0], run_name="__main__")
