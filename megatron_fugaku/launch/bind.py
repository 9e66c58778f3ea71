"""Give a rank its cores, then become the program: ``bind.py 0,1;2,3 PROGRAM ARG...`` under any mpirun.

Open MPI 4, Open MPI 5 and Hydra spell binding differently and none of them looks at the affinity mask that a batch
system or ``taskset`` left, so the launcher computes the sets and each rank takes its own here. Run as a file, with
``python -S -E -P``, it costs about ten milliseconds and imports nothing of the package.
"""

import os
import sys

LOCAL_RANK_VARIABLES = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID", "PMI_RANK", "PMIX_RANK")


def parse_cpu_sets(text):
    """Turn ``0,1;2,3`` into ``[{0, 1}, {2, 3}]``."""
    return [{int(cpu) for cpu in part.split(",")} for part in text.split(";")]


def find_local_rank(environ):
    """Return the rank's number on this node; raise KeyError when no MPI launcher has said it."""
    for name in LOCAL_RANK_VARIABLES:
        if name in environ:
            return int(environ[name])
    raise KeyError("none of " + ", ".join(LOCAL_RANK_VARIABLES) + " is set: start this under mpirun")


def main(argv):
    """Bind this process and replace it by the program."""
    cpu_sets = parse_cpu_sets(argv[0])
    os.sched_setaffinity(0, cpu_sets[find_local_rank(os.environ) % len(cpu_sets)])
    os.execvp(argv[1], argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
