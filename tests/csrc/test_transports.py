"""What connects uTofu with the engine compiles, against the mock's header: it can only run on the machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from stretch import stretched

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("mpicxx") is None, reason="needs an MPI compiler")
def test_utofu_over_mpi_compiles():
    sources = [ROOT / "csrc" / "comm" / "transport" / f"{name}.cpp"
               for name in ("utofu_over_mpi", "utofu", "utofu_links", "utofu_port")]
    compile_all = ["mpicxx", "-std=c++17", "-fsyntax-only", "-Wall", "-Werror", "-DOMPI_SKIP_MPICXX",
                   "-DMPICH_SKIP_MPICXX", "-DMFUGAKU_WITH_UTOFU", f"-I{ROOT / 'csrc'}",
                   f"-I{ROOT / 'tests' / 'csrc' / 'utofu_mock'}", *map(str, sources)]
    done = subprocess.run(compile_all, capture_output=True, text=True, timeout=stretched(120), check=False)
    assert done.returncode == 0, done.stderr
