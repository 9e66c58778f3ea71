"""A rank of torch.distributed for the tests of Slurm: ``slurm_rank.py WAY [FOLDER]``.

report  prints what it knows about itself, and the sum of all ranks' numbers from 1
wait    leaves its process id in FOLDER; rank 1 stays there, the others wait for it in a barrier
raise   an exception ends rank 1, the others wait for it in a barrier
"""

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from megatron_fugaku import comm

way = sys.argv[1]
dist.init_process_group("mpi")
rank = dist.get_rank()
if way == "report":
    number = torch.tensor([rank + 1.0])
    dist.all_reduce(number)
    print(json.dumps({**dataclasses.asdict(comm.rank_info()), "sum": number.item()}), flush=True)
    dist.destroy_process_group()
    sys.exit(0)
if way == "wait":
    folder = Path(sys.argv[2])
    (folder / f".rank{rank}").write_text(str(os.getpid()))
    os.replace(folder / f".rank{rank}", folder / f"rank{rank}")
if rank == 1:
    if way == "raise":
        raise KeyError("the tale of rank 1")
    time.sleep(120)
dist.barrier()
