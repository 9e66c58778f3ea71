import pytest

from megatron_fugaku.launch.failure import RankFailure, failure_from_status, parse_failure

OPENMPI_4_SIGNAL = """--------------------------------------------------------------------------
mpirun noticed that process rank 2 with PID 0 on node vm exited on signal 9 (Killed).
--------------------------------------------------------------------------
"""
OPENMPI_4_EXIT = """mpirun detected that one or more processes exited with non-zero status, thus causing
the job to be terminated. The first process to do so was:

  Process name: [[12147,1],2]
  Exit code:    3
"""
OPENMPI_5_SIGNAL = """prterun noticed that process rank 2 with PID 17316 on node vm exited on
signal 9 (Killed).
"""
OPENMPI_5_EXIT = """prterun detected that one or more processes exited with non-zero status,
thus causing the job to be terminated. The first process to do so was:

   Process name: [prterun-vm-17323@1,2]
   Exit code:    3
"""
OPENMPI_ABORT = """MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD
with errorcode 7.
""" + OPENMPI_4_EXIT
HYDRA_SIGNAL = """===================================================================================
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   PID 17340 RUNNING AT vm
=   EXIT CODE: 9
=   CLEANING UP REMAINING PROCESSES
===================================================================================
YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)
"""
HYDRA_RANK = """=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   RANK 3 PID 42 RUNNING AT vm
=   KILLED BY SIGNAL: 11 (Segmentation fault)
"""
HYDRA_EXIT = """=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   PID 42 RUNNING AT vm
=   EXIT CODE: 3
"""
HYDRA_ABORT = "Abort(7) on node 1 (rank 1 in comm 0): application called MPI_Abort(MPI_COMM_WORLD, 7) - process 1\n"


@pytest.mark.parametrize("text, expected", [
    (OPENMPI_4_SIGNAL, RankFailure(2, signal_number=9)),
    (OPENMPI_5_SIGNAL, RankFailure(2, signal_number=9)),
    (OPENMPI_4_EXIT, RankFailure(2, exit_code=3)),
    (OPENMPI_5_EXIT, RankFailure(2, exit_code=3)),
    (OPENMPI_ABORT, RankFailure(1, exit_code=7, is_abort=True)),
    (HYDRA_SIGNAL, RankFailure(1, signal_number=9)),
    (HYDRA_RANK, RankFailure(3, signal_number=11)),
    (HYDRA_EXIT, RankFailure(1, exit_code=3)),
    (HYDRA_ABORT, RankFailure(1, exit_code=7, is_abort=True)),
    ("step 3: loss 2.5, exit code 3 is printed by nobody\n", None),
])
def test_what_mpirun_says(text, expected):
    assert parse_failure("earlier output\n" + text, first_ended=1) == expected


@pytest.mark.parametrize("failure, sentence", [
    (RankFailure(2, signal_number=9), "rank 2 was killed by signal 9 (SIGKILL)"),
    (RankFailure(2, signal_number=250), "rank 2 was killed by signal 250 (unknown)"),
    (RankFailure(0, exit_code=3), "rank 0 ended with exit code 3"),
    (RankFailure(1, exit_code=7, is_abort=True), "rank 1 aborted the job with code 7"),
    (RankFailure(None, exit_code=1), "a rank ended with exit code 1"),
    (RankFailure(None), "a rank ended early"),
])
def test_sentences(failure, sentence):
    assert failure.explain() == sentence


def test_an_exit_status_alone():
    assert failure_from_status(137, 2) == RankFailure(2, signal_number=9)
    assert failure_from_status(-15, None) == RankFailure(None, signal_number=15)
    assert failure_from_status(3, 1) == RankFailure(1, exit_code=3)
