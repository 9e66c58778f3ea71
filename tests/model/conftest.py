"""A process group of this one process, without which megatron-core's layers forget the group that they are given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def process_group() -> Iterator[torch.distributed.ProcessGroup]:
    """The group of one rank."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield torch.distributed.group.WORLD
    torch.distributed.destroy_process_group()
