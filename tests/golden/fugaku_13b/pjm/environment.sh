# shellcheck shell=bash
# Environment of every rank of fugaku_13b; sourced by job.sh, and Fujitsu's mpiexec passes it on.

# One thread per core of the rank: 1 x 48 on a node.
export OMP_NUM_THREADS=48
# Read by Fujitsu's OpenMP library only. The hardware barrier (HARD) suits programs whose thread teams never change
# size (RIKEN's Graph500 sets it); torch changes the size of its teams.
export FLIB_BARRIER=SOFT
# Large pages are given on first touch, by the CMG that touches, for .bss, stack and heap alike: the Fugaku user guide
# (section "Large page space allocation") recommends demand paging when threads of one process span several CMGs.
export XOS_MMM_L_PAGING_POLICY=demand:demand:demand
# No empty output file per silent rank (Fujitsu "MPI User's Guide").
export PLE_MPI_STD_EMPTYFILE=off
# Temporary files stay on the node.
export TMPDIR="${PJM_LOCALTMP:-/tmp}"
# The archive holds byte code already; ranks must not write any.
export PYTHONDONTWRITEBYTECODE=1
# Where the ranks stand, and the lanes that their collectives take from there.
export MFUGAKU_COMM_PLACEMENT="${job:?set by job.sh}/placement.json"
