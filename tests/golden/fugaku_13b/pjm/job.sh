#!/bin/bash
# fugaku_13b: 13824 ranks = tensor 6 x data 288 x pipeline 8, 1 per node on 13824 nodes.
# Written by `mfugaku launch pjm`; change the YAML file and render it again.
#PJM -L "rscunit=rscunit_ft01"
#PJM -L "rscgrp=large"
#PJM -L "node=48x6x48:torus:strict-io"
#PJM -L "elapse=165:00:00"
#PJM -L "freq=2200"
#PJM -L "eco_state=0"
#PJM -L "retention_state=0"
#PJM --mpi "proc=13824"
#PJM --mpi "max-proc-per-node=1"
#PJM --llio localtmp-size=50Gi
#PJM --rsc-list "proc-openfd=65536"
#PJM -L "throttling_state=0"
#PJM -L "issue_state=0"
#PJM -L "ex_pipe_state=0"
#PJM --llio sio-read-cache=off
#PJM -N fugaku_13b
#PJM -j
#PJM -S

set -euo pipefail

# Relative paths in config.yaml are relative to the directory in which pjsub was called.
cd "${PJM_O_WORKDIR}"
job="jobs/fugaku_13b"
# shellcheck source=/dev/null
source "${job}/environment.sh"
mkdir -p "${job}/output"

# Thousands of ranks read these files at once: llio_transfer puts copies near the nodes first
# (Fugaku user guide, chapter 8, "Layered storage and LLIO").
common_files=(
  "${job}/config.yaml"
  "${job}/placement.json"
  "software/mfugaku-a64fx.tar"
)
for file in "${common_files[@]}"; do
  llio_transfer "${file}"
done

# One process per node unpacks Python and its packages into the node's own storage: importing them from the shared
# file system would take longer than a step.
mpiexec -np 13824 tar -xf "software/mfugaku-a64fx.tar" -C "${PJM_LOCALTMP}"

status=0
mpiexec -np 13824 \
  --vcoordfile "${job}/vcoordfile" \
  -mca common_tofu_use_memory_pool 1 \
  -mca coll_base_reduce_commute_safe 1 \
  -std-proc "${job}/output/%j/%m/%/1000r/stdproc" \
  "numactl" "--membind=4-7" "--cpunodebind=4-7" \
  "${PJM_LOCALTMP:-software}/mfugaku/bin/python" -m megatron_fugaku pretrain "${job}/config.yaml" || status=$?

for file in "${common_files[@]}"; do
  llio_transfer --purge "${file}"
done
exit "${status}"
