# shellcheck shell=bash
# Environment of every rank of fugaku_13b; sourced by job.sh, and srun passes it on.

# One thread per core of the rank; job.sh sets cpus_per_rank.
export OMP_NUM_THREADS="${cpus_per_rank:?}"
# Ranks of a large job must not write byte code to the shared file system.
export PYTHONDONTWRITEBYTECODE=1
