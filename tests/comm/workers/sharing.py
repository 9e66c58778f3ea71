"""Collectives through memory that the ranks share."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from contributions import fill

import megatron_fugaku.comm as comm
from megatron_fugaku.comm import arena
from megatron_fugaku.comm.extension import load_extension

SHARED, MPI = "shared memory", "MPI"


def rank() -> int:
    return dist.get_rank()


def size() -> int:
    return dist.get_world_size()


def memory_is_shared() -> None:
    assert comm.transport_of(dist.group.WORLD) == SHARED
    assert comm.transport_of(dist.new_group(list(range(size())))) == SHARED
    # Nothing has a name that could stay behind when a rank is killed, and only the arena's file is left open.
    opened = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.exists()]
    assert [name for name in opened if "mfugaku" in name] == ["/memfd:mfugaku arena (deleted)"], opened
    mapped = [line.split()[-2:] for line in Path("/proc/self/maps").read_text().splitlines() if "mfugaku" in line]
    assert len(mapped) >= size() and all(state == "(deleted)" for _, state in mapped), mapped


def start(kind: str, count: int, salt: int, group) -> tuple[torch.Tensor, dist.Work]:
    """Begin a collective of int32; return the tensor that will hold its result."""
    whole = fill(rank(), (size(), count), torch.int32, salt)
    piece = whole[rank()].clone()
    if kind == "all_reduce":
        return piece, dist.all_reduce(piece, group=group, async_op=True)
    if kind == "broadcast":
        return piece, dist.broadcast(piece, salt % size(), group=group, async_op=True)
    if kind == "reduce_scatter":
        return piece, dist.reduce_scatter_tensor(piece, whole.flatten(), group=group, async_op=True)
    gathered = torch.empty(size(), count, dtype=torch.int32)
    return gathered, dist.all_gather_into_tensor(gathered, piece, group=group, async_op=True)


def expected_of(kind: str, count: int, salt: int) -> torch.Tensor:
    rows = [fill(r, (size(), count), torch.int32, salt) for r in range(size())]
    if kind == "reduce_scatter":
        return sum(row[rank()] for row in rows)
    pieces = [row[r] for r, row in enumerate(rows)]
    if kind == "broadcast":
        return pieces[salt % size()]
    return torch.stack(pieces) if kind == "all_gather" else sum(pieces)


def crossed_collectives() -> None:
    """A thousand operations of all kinds, on two groups, in an order of each rank's own."""
    groups = [dist.new_group(list(range(size()))) for _ in range(2)]
    common = random.Random(0)  # what is done, alike on all ranks
    own = random.Random(1 + rank())  # in which order
    for round_number in range(500):
        salt = round_number % 5
        kinds = [common.choice(("all_reduce", "reduce_scatter", "all_gather", "broadcast")) for _ in groups]
        counts = [common.choice((1, 100, 5000, 40_000)) for _ in groups]
        order = [0, 1]
        own.shuffle(order)
        begun = {i: start(kinds[i], counts[i], salt, groups[i]) for i in order}
        own.shuffle(order)
        for i in order:
            result, work = begun[i]
            work.wait()
            assert torch.equal(result, expected_of(kinds[i], counts[i], salt)), (round_number, kinds[i], counts[i])


def many_in_flight() -> None:
    """More operations of one group than there are slots, of sizes that need many chunks, awaited backwards."""
    counts = [1, 700_001, 3, 1_000_003, 50_000, 2, 300_000, 9]
    for dtype in (torch.float32, torch.bfloat16):
        tensors = [torch.full((count,), float(rank() + i), dtype=dtype) for i, count in enumerate(counts)]
        works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
        for i in reversed(range(len(counts))):
            works[i].wait()
            assert (tensors[i] == size() * i + size() * (size() - 1) // 2).all(), (dtype, i)


def a_late_rank_is_awaited() -> None:
    for late in range(size()):
        tensor = torch.full((1_000_000,), 1.0)
        if rank() == late:
            time.sleep(0.05)
        dist.all_reduce(tensor)
        assert (tensor == size()).all()


def sums_are_in_the_order_of_the_ranks() -> None:
    for count in (1000, 300_001):
        tensor = fill(rank(), (count,), torch.float32)
        dist.all_reduce(tensor)
        expected = fill(0, (count,), torch.float32)
        for r in range(1, size()):
            expected += fill(r, (count,), torch.float32)
        assert torch.equal(tensor, expected), count
        output = torch.empty(count)
        dist.reduce_scatter_tensor(output, fill(rank(), (size() * count,), torch.float32))
        pieces = [fill(r, (size() * count,), torch.float32).view(size(), count)[rank()] for r in range(size())]
        expected = pieces[0].clone()
        for piece in pieces[1:]:
            expected += piece
        assert torch.equal(output, expected), count


def disagreements_are_named() -> None:
    """Ranks that call different collectives are told so, and so are those who use the group afterwards."""
    group = dist.new_group(list(range(size())))
    count = 100 if rank() == 0 else 90
    for expected in ("bytes", "an earlier collective of this group failed"):
        try:
            dist.all_reduce(torch.ones(count), group=group)
        except dist.DistBackendError as error:
            assert expected in str(error), str(error)
            assert "all_reduce of 400" in str(error) and "all_reduce of 360" in str(error), str(error)
        else:
            raise AssertionError("a disagreement was not noticed")


def tensors_in_the_arena_are_read_where_they_lie() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        for count in (7, 70_001, 300_000):
            whole = arena.empty(size(), count, dtype=dtype)
            assert arena.holds(whole) and whole.dtype == dtype and whole.shape == (size(), count)
            rows = [fill(r, (size(), count), dtype) for r in range(size())]
            total = rows[0].to(torch.float64 if dtype.is_floating_point else dtype)
            for row in rows[1:]:
                total = total + row
            # As megatron does it: reduce-scatter into the own piece of the buffer, all-gather from there.
            whole.copy_(rows[rank()])
            dist.reduce_scatter_tensor(whole[rank()], whole.view(-1))
            torch.testing.assert_close(whole[rank()].to(total.dtype), total[rank()], rtol=2**-7, atol=1e-2)
            dist.all_gather_into_tensor(whole.view(-1), whole[rank()])
            gathered = whole.clone()
            # The same through the slots, bit for bit.
            plain = rows[rank()].clone()
            dist.all_reduce(plain)
            assert torch.equal(gathered, plain), (dtype, count)
            whole.copy_(rows[rank()])
            dist.all_reduce(whole)
            assert torch.equal(whole, plain), (dtype, count)


def long_tensors_are_read_out_of_other_processes() -> None:
    """The same results, bit for bit, as through the arena; lengths that divide by no number of ranks."""
    for dtype in (torch.float32, torch.bfloat16):
        for count in (1_200_001, 2_000_003):
            plain = fill(rank(), (count,), dtype)
            inside = arena.empty(count, dtype=dtype).copy_(plain)
            dist.all_reduce(plain)
            dist.all_reduce(inside)
            assert torch.equal(plain, inside), (dtype, count)
            whole = fill(rank(), (size() * count,), dtype)
            inside, outputs = arena.empty(size() * count, dtype=dtype).copy_(whole), torch.empty(2, count, dtype=dtype)
            dist.reduce_scatter_tensor(outputs[0], whole)
            dist.reduce_scatter_tensor(outputs[1], inside)
            assert torch.equal(*outputs), (dtype, count)
            dist.all_gather_into_tensor(whole, outputs[0])
            dist.all_reduce(inside)
            assert torch.equal(whole, inside), (dtype, count)
            whole[rank() * count :][:count] += 1  # in place, from the own slot
            dist.all_gather_into_tensor(whole, whole[rank() * count :][:count])
            assert torch.equal(whole, inside + 1), (dtype, count)


def broadcasts_come_by_every_way() -> None:
    for count in (5, 20_001, 400_001):
        for make in (torch.empty, arena.empty):
            for root in range(size()):
                tensor = make(count, dtype=torch.int32)
                tensor.copy_(fill(rank(), (count,), torch.int32))
                dist.broadcast(tensor, root)
                assert torch.equal(tensor, fill(root, (count,), torch.int32)), (count, root, make)


def pieces_come_by_every_way() -> None:
    """Of all_to_all, gather and scatter, in place too."""
    for count in (5, 20_001, 400_001):
        rows = [fill(r, (size(), count), torch.int32) for r in range(size())]
        for make in (torch.empty, arena.empty):
            given = make(size(), count, dtype=torch.int32).copy_(rows[rank()])
            taken = make(size(), count, dtype=torch.int32)
            dist.all_to_all_single(taken, given)
            assert torch.equal(taken, torch.stack([row[rank()] for row in rows])), (count, make)
            dist.all_to_all_single(given, given)
            assert torch.equal(given, taken), (count, make)
            root = count % size()
            dist.gather(rows[rank()][rank()], list(taken) if rank() == root else None, root)
            if rank() == root:
                assert torch.equal(taken, torch.stack([rows[r][r] for r in range(size())])), (count, make)
            given.copy_(rows[rank()])
            place = given[rank()] if rank() == root else taken[0]
            dist.scatter(place, list(given) if rank() == root else None, root)
            assert torch.equal(place, rows[root][rank()]), (count, make)
            tensor = make(count, dtype=torch.int32).copy_(rows[rank()][0])
            dist.reduce(tensor, root)
            expected = sum(row[0] for row in rows) if rank() == root else rows[rank()][0]
            assert torch.equal(tensor, expected), (count, make)


def results_longer_than_the_caches_are_the_same() -> None:
    """Written past the caches, whichever way they come."""
    load_extension().set_cache_bytes(1)
    try:
        sums_are_in_the_order_of_the_ranks()
        tensors_in_the_arena_are_read_where_they_lie()
        long_tensors_are_read_out_of_other_processes()
        broadcasts_come_by_every_way()
        pieces_come_by_every_way()
    finally:
        load_extension().set_cache_bytes(0)


def some_tensors_in_the_arena() -> None:
    """All members must have theirs there; else all go through the slots."""
    for inside in ([0], list(range(1, size())), list(range(size()))):
        make = arena.empty if rank() in inside else torch.empty
        tensor = make(200_000)
        for round_number in range(3):
            tensor.fill_(rank() + round_number)
            dist.all_reduce(tensor)
            assert (tensor == size() * round_number + size() * (size() - 1) // 2).all(), inside


def the_arena_gives_memory_back() -> None:
    tensors = [arena.zeros(500_000 + i, dtype=torch.uint8) for i in range(8)]
    addresses = {tensor.data_ptr() for tensor in tensors}
    assert len(addresses) == 8 and all(address % 4096 == 0 for address in addresses)
    part = tensors[3][1000:].view(-1)
    first = tensors[0].data_ptr()
    del tensors
    assert arena.empty(499_000, dtype=torch.uint8).data_ptr() == first
    part.fill_(7)  # a view keeps its memory
    again = arena.zeros(4_000_000, dtype=torch.uint8)
    assert (part == 7).all() and (again == 0).all()
    del part
    for _ in range(20):  # 20 times 64 MB do not stay
        arena.empty(64 << 20, dtype=torch.uint8)[::4096].fill_(1)
        status = Path("/proc/self/status").read_text()
        [kilobytes] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("RssShmem")]
        assert kilobytes < 500_000, kilobytes


def ways_of(*calls: Callable[[], object]) -> list[str]:
    """By which way the collectives of some calls went."""
    comm.drain_trace()
    comm.set_tracing(True)
    for call in calls:
        call()
    comm.set_tracing(False)
    return [event.way for event in comm.drain_trace() if event.group_name == dist.group.WORLD.group_name]


def torch_makes_tensors_in_the_arena() -> None:
    """Within the scope, of this thread, from a size on; by whatever operator they are made."""
    given = torch.ones(400, 1000)
    with arena.allocating(min_bytes=100_000):
        made = {"zeros": torch.zeros(30_000), "matmul": given @ given.T, "copy": given.bfloat16(),
                "cat": torch.cat([given, given])}
        small, others = torch.zeros(10), []
        thread = threading.Thread(target=lambda: others.append(torch.zeros(30_000)))
        thread.start()
        thread.join()
    assert all(map(arena.holds, made.values())), {name: arena.holds(tensor) for name, tensor in made.items()}
    assert not any(map(arena.holds, (given, small, others[0], torch.zeros(30_000))))
    assert (made["zeros"] == 0).all() and (made["matmul"] == 1000).all() and (made["cat"] == 1).all()
    made["zeros"].untyped_storage().resize_(1 << 20)  # by the storage's own allocator, outside the scope
    assert not arena.holds(made["zeros"]) and (made["zeros"] == 0).all()
    arena.place_tensors(100_000)
    tensor = torch.full((30_000,), float(rank()))
    thread = threading.Thread(target=lambda: others.append(torch.zeros(30_000)))
    thread.start()
    thread.join()
    arena.place_tensors(None)
    assert arena.holds(tensor) and arena.holds(others[1]) and not arena.holds(torch.zeros(30_000))
    assert ways_of(lambda: dist.all_reduce(tensor), lambda: dist.all_reduce(torch.zeros(30_000))) == ["arena", "slots"]
    assert (tensor == size() * (size() - 1) // 2).all()
    long, whole = torch.zeros(1 << 20), torch.zeros(size() << 20)
    ways = ways_of(lambda: dist.all_reduce(long), lambda: dist.all_gather_into_tensor(whole, long), dist.barrier)
    assert ways == ["slots", "remote reads", "shared memory"]
    medium, whole = torch.zeros(50_000), torch.zeros(size() * 50_000)
    ways = ways_of(lambda: dist.broadcast(medium, 0), lambda: dist.all_gather_into_tensor(whole, medium),
                   lambda: dist.broadcast(long, 0), lambda: dist.broadcast(torch.zeros(100), 0))
    assert ways == ["remote reads", "remote reads", "slots", "shared memory"]


def a_child_has_a_copy_of_the_arena() -> None:
    """It can write and free what it inherited, and its parent sees nothing of it."""
    inherited = arena.zeros(1 << 20)
    with arena.allocating():
        child = os.fork()
        if child == 0:
            inherited.fill_(7)
            is_private = bool((inherited == 7).all()) and not arena.holds(torch.zeros(1 << 20))
            del inherited
            os._exit(0 if is_private else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (inherited == 0).all()
    assert arena.holds(arena.zeros(1 << 20))


def members_alone_make_a_group() -> None:
    """The ranks outside come later, or never."""
    if rank() < 2:
        group = dist.new_group([0, 1], use_local_synchronization=True)
        assert comm.transport_of(group) == SHARED
        tensor = torch.ones(5)
        dist.all_reduce(tensor, group=group)
        assert (tensor == 2).all()


checks_to_run = (
    memory_is_shared,
    crossed_collectives,
    many_in_flight,
    a_late_rank_is_awaited,
    sums_are_in_the_order_of_the_ranks,
    disagreements_are_named,
    tensors_in_the_arena_are_read_where_they_lie,
    long_tensors_are_read_out_of_other_processes,
    broadcasts_come_by_every_way,
    pieces_come_by_every_way,
    results_longer_than_the_caches_are_the_same,
    some_tensors_in_the_arena,
    the_arena_gives_memory_back,
    torch_makes_tensors_in_the_arena,
    a_child_has_a_copy_of_the_arena,
    members_alone_make_a_group,
)
