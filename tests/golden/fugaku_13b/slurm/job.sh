#!/bin/bash
# fugaku_13b: 13824 ranks = tensor 6 x data 288 x pipeline 8, 1 per node on 13824 nodes.
# Written by `mfugaku launch slurm`; change the YAML file and render it again.
#SBATCH --job-name=fugaku_13b
#SBATCH --nodes=13824
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=48
#SBATCH --exclusive
#SBATCH --threads-per-core=1
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --output=jobs/fugaku_13b/output-%j.txt

set -euo pipefail

# Relative paths in config.yaml are relative to the directory in which sbatch was called.
cd "${SLURM_SUBMIT_DIR}"
job="jobs/fugaku_13b"
cpus_per_rank=48
# shellcheck source=/dev/null
source "${job}/environment.sh"

# block:block keeps neighbouring ranks, which are tensor-parallel ones, on one node and one socket.
# srun does not take --cpus-per-task over from sbatch since Slurm 22.05, so it is given again.
exec srun --mpi=pmix --kill-on-bad-exit=1 --cpu-bind=cores --distribution=block:block \
  --cpus-per-task="${cpus_per_rank}" \
  "${PJM_LOCALTMP:-software}/mfugaku/bin/python" -m megatron_fugaku pretrain "${job}/config.yaml"
