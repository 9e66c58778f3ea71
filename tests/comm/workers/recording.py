"""Three ranks of which one does not come; argv[1] says what it does instead. Waits for an end from outside."""

from __future__ import annotations

import sys
import time

import torch
import torch.distributed as dist

dist.init_process_group("mpi")
rank = dist.get_rank()
pair = dist.new_group([0, 1], group_desc="pair")
for _ in range(1500):  # more than the ring holds
    dist.all_reduce(torch.ones(4))
if rank == 2:
    if sys.argv[1] == "receives":
        dist.recv(torch.ones(2), 1)
    time.sleep(100)
if rank < 2:
    dist.all_reduce(torch.ones(8), group=pair)
dist.all_reduce(torch.ones(1 << 18))
