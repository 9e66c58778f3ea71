from __future__ import annotations

import shutil

import pytest

from megatron_fugaku.bench.smpi import build_simulator


@pytest.fixture(scope="session")
def simulator_program(tmp_path_factory):
    """The program that carries collectives out on simulated networks."""
    if shutil.which("smpirun") is None or shutil.which("smpicxx") is None:
        pytest.skip("SimGrid is not installed: apt-get install libsimgrid-dev")
    return build_simulator(tmp_path_factory.mktemp("smpi"))
