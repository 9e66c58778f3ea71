"""The operations that ``mfugaku bench comm`` times: their tensors, the call, and what must come out.

Every operation is one class with the sizes that it divides among the ranks. ``num_bytes`` is always the whole vector:
reduced, to be scattered, gathered, handed on, or exchanged by every rank. Other ranks' values are known to every rank,
so each checks its own result alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.distributed as dist

from megatron_fugaku.comm import arena

ROOT = 0


class Case(ABC):
    """An operation on one vector; subclasses say what is given, what comes out, and how it is called."""

    reduces = False
    uses_size = True

    def __init__(self, dtype: torch.dtype, num_bytes: int, is_in_arena: bool) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.piece = max(1, num_bytes // dtype.itemsize // self.size)
        # Small whole numbers: their sums are exact in every type.
        self._pattern, self._dtype = torch.arange(self.piece * self.size) % 7, dtype
        given, self._expected = self.build()
        output = torch.empty_like(self._expected)
        self._is_in_place = given is None
        if is_in_arena:
            output = arena.empty(output.numel(), dtype=dtype)
            given = None if given is None else arena.empty(given.numel(), dtype=dtype).copy_(given)
        self.output = output
        self.given = output if given is None else given

    @abstractmethod
    def build(self) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Return (input, expected output); no input where the operation works in place on `start`."""

    def start(self) -> torch.Tensor:
        """Return what stands in the output before a call in place."""
        return self.values_of(self.rank)

    @abstractmethod
    def call_of(self, group: dist.ProcessGroup) -> Callable[[], object]:
        """Return the call to be timed."""

    def values_of(self, rank: int) -> torch.Tensor:
        """The whole vector of a rank."""
        return (self._pattern + rank).to(self._dtype)

    def total(self) -> torch.Tensor:
        """The sum over all ranks."""
        return (self.size * self._pattern + self.size * (self.size - 1) // 2).to(self._dtype)

    def block_of(self, rank: int) -> slice:
        """Where a rank's block lies in a vector."""
        return slice(rank * self.piece, (rank + 1) * self.piece)

    def blocks(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The ranks' blocks of a vector, as views."""
        return list(tensor.split(self.piece))

    def check(self, group: dist.ProcessGroup) -> None:
        """Call once and compare every element."""
        self.output.fill_(-1)
        if self._is_in_place:
            self.output.copy_(self.start())
        self.call_of(group)()
        if not torch.equal(self.output, self._expected):
            raise AssertionError(f"{type(self).__name__} {self.output.dtype} of {self.output.numel()} elements on "
                                 f"{dist.get_backend(group)}: a wrong result")

    def prepare(self) -> None:
        """Make sums that stay finite however often they are repeated."""
        self.output.zero_()
        self.given.zero_()


class AllReduce(Case):
    reduces = True

    def build(self):
        return None, self.total()

    def call_of(self, group):
        return lambda: dist.all_reduce(self.output, group=group)


class ReduceScatter(Case):
    reduces = True

    def build(self):
        return self.values_of(self.rank), self.total()[self.block_of(self.rank)].clone()

    def call_of(self, group):
        return lambda: dist.reduce_scatter_tensor(self.output, self.given, group=group)


class AllGather(Case):
    def build(self):
        blocks = [self.values_of(rank)[self.block_of(rank)] for rank in range(self.size)]
        return blocks[self.rank].clone(), torch.cat(blocks)

    def call_of(self, group):
        return lambda: dist.all_gather_into_tensor(self.output, self.given, group=group)


class Broadcast(Case):
    def build(self):
        return None, self.values_of(ROOT)

    def call_of(self, group):
        return lambda: dist.broadcast(self.output, ROOT, group=group)


class Reduce(Case):
    """What stands in the tensor of others than the root afterwards, nobody promises: only the root's is compared."""

    reduces = True

    def build(self):
        return None, self.total()

    def check(self, group):
        if self.rank == ROOT:
            super().check(group)
        else:
            self.output.copy_(self.start())
            self.call_of(group)()

    def call_of(self, group):
        return lambda: dist.reduce(self.output, ROOT, group=group)


class AllToAll(Case):
    def build(self):
        parts = [self.values_of(rank)[self.block_of(self.rank)] for rank in range(self.size)]
        return self.values_of(self.rank), torch.cat(parts)

    def call_of(self, group):
        return lambda: dist.all_to_all_single(self.output, self.given, group=group)


class Gather(Case):
    def build(self):
        blocks = [self.values_of(rank)[self.block_of(rank)] for rank in range(self.size)]
        nothing = torch.full((1,), -1).to(self._dtype)
        return blocks[self.rank].clone(), torch.cat(blocks) if self.rank == ROOT else nothing

    def call_of(self, group):
        parts = self.blocks(self.output) if self.rank == ROOT else None
        return lambda: dist.gather(self.given, parts, ROOT, group=group)


class Scatter(Case):
    def build(self):
        whole = self.values_of(ROOT)
        given = whole if self.rank == ROOT else torch.zeros(1, dtype=self._dtype)
        return given, whole[self.block_of(self.rank)].clone()

    def call_of(self, group):
        parts = self.blocks(self.given) if self.rank == ROOT else None
        return lambda: dist.scatter(self.output, parts, ROOT, group=group)


class PingPong(Case):
    """The vector goes to the other rank of a pair and comes back; with an odd number of ranks the last one is idle."""

    def build(self):
        first = self.rank - self.rank % 2
        return None, self.values_of(first if self._partner() < self.size else self.rank)

    def _partner(self) -> int:
        return self.rank ^ 1

    def call_of(self, group):
        partner, tensor = self._partner(), self.output
        if partner >= self.size:
            return lambda: None

        def first() -> None:
            dist.send(tensor, partner, group=group)
            dist.recv(tensor, partner, group=group)

        def second() -> None:
            dist.recv(tensor, partner, group=group)
            dist.send(tensor, partner, group=group)

        return second if self.rank % 2 else first


class Barrier(Case):
    uses_size = False

    def build(self):
        return None, torch.zeros(1, dtype=self._dtype)

    def start(self):
        return torch.zeros(1, dtype=self._dtype)

    def call_of(self, group):
        return lambda: dist.barrier(group=group)


CASES: dict[str, type[Case]] = {
    "all_reduce": AllReduce, "reduce_scatter": ReduceScatter, "all_gather": AllGather, "broadcast": Broadcast,
    "reduce": Reduce, "all_to_all": AllToAll, "gather": Gather, "scatter": Scatter, "ping_pong": PingPong,
    "barrier": Barrier,
}
