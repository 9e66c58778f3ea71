"""Every collective against references computed on one rank in float64."""

from __future__ import annotations

import datetime
import functools
import gc
import operator
import random

import torch
import torch.distributed as dist
from contributions import fill

import megatron_fugaku.comm as comm
from megatron_fugaku.comm.extension import load_extension

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
ALL = (*FLOATS, *INTEGERS, torch.bool, torch.complex64, torch.complex128)
# 0 and 1 element, odd sizes around the splitting of halves, and one of many blocks.
SIZES = (0, 1, 7, 513, 4097, 70_001)
# Sums of a few normal variates: one rounding for halves; MPI's order of additions is not ours for float32.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}
TOLERANCE |= {torch.complex64: 1e-6, torch.complex128: 1e-13}


def rank() -> int:
    return dist.get_rank()


def size() -> int:
    return dist.get_world_size()


def reduced(tensors: list[torch.Tensor], op) -> torch.Tensor:
    """The reduction in float64, complex128 or int64, rounded once to the inputs' type."""
    dtype = tensors[0].dtype
    if dtype == torch.bool:
        stacked = torch.stack(tensors)
        return stacked.any(0) if op in (dist.ReduceOp.SUM, dist.ReduceOp.MAX) else stacked.all(0)
    wide = torch.complex128 if dtype.is_complex else torch.float64 if dtype.is_floating_point else torch.int64
    tensors = [tensor.to(wide) for tensor in tensors]
    functions = {
        dist.ReduceOp.SUM: operator.add,
        dist.ReduceOp.AVG: operator.add,
        dist.ReduceOp.PRODUCT: operator.mul,
        dist.ReduceOp.MIN: torch.minimum,
        dist.ReduceOp.MAX: torch.maximum,
        dist.ReduceOp.BAND: operator.and_,
        dist.ReduceOp.BOR: operator.or_,
        dist.ReduceOp.BXOR: operator.xor,
    }
    result = functools.reduce(functions[op], tensors)
    return (result / len(tensors) if op == dist.ReduceOp.AVG else result).to(dtype)


def assert_close(actual: torch.Tensor, expected: torch.Tensor, what) -> None:
    assert actual.dtype == expected.dtype and actual.shape == expected.shape, what
    if expected.dtype not in TOLERANCE:
        assert torch.equal(actual, expected), (what, actual, expected)
        return
    tolerance = TOLERANCE[expected.dtype]
    wide = torch.complex128 if expected.dtype.is_complex else torch.float64
    torch.testing.assert_close(
        actual.to(wide), expected.to(wide), rtol=tolerance, atol=4 * tolerance, msg=lambda text: f"{what}: {text}"
    )


def ops_of(dtype: torch.dtype) -> list:
    ops = [dist.ReduceOp.SUM, dist.ReduceOp.PRODUCT]
    if not dtype.is_complex:
        ops += [dist.ReduceOp.MIN, dist.ReduceOp.MAX]
    if dtype.is_floating_point:
        ops += [dist.ReduceOp.AVG]
    elif not dtype.is_complex and dtype != torch.bool:
        ops += [dist.ReduceOp.BAND, dist.ReduceOp.BOR, dist.ReduceOp.BXOR]
    return ops


def all_reduce() -> None:
    for dtype in ALL:
        for op in ops_of(dtype):
            if dtype.is_complex and op != dist.ReduceOp.SUM:
                continue  # torch itself refuses
            for count in SIZES:
                tensor = fill(rank(), (count,), dtype)
                dist.all_reduce(tensor, op)
                expected = reduced([fill(r, (count,), dtype) for r in range(size())], op)
                assert_close(tensor, expected, ("all_reduce", dtype, op, count))


def all_reduce_is_the_same_everywhere() -> None:
    for dtype in FLOATS:
        tensor = fill(rank(), (70_001,), dtype)
        dist.all_reduce(tensor)
        everybody = [torch.empty_like(tensor) for _ in range(size())]
        dist.all_gather(everybody, tensor)
        assert all(torch.equal(tensor, other) for other in everybody), dtype


def halves_round_once() -> None:
    # 1 + size * 2**-12 in steps would be lost in bfloat16 at every addition.
    for count in (3, 50_000):
        tensor = torch.full((count,), 1.0 if rank() == 0 else 2**-8, dtype=torch.bfloat16)
        dist.all_reduce(tensor)
        expected = torch.tensor(1.0 + (size() - 1) * 2**-8).to(torch.bfloat16)
        assert (tensor == expected).all(), (count, tensor[0], expected)


def reduce() -> None:
    for dtype in ALL:
        for count in (0, 3, 4097):
            for root in range(size()):
                tensor = fill(rank(), (count,), dtype)
                dist.reduce(tensor, root)
                inputs = [fill(r, (count,), dtype) for r in range(size())]
                expected = reduced(inputs, dist.ReduceOp.SUM) if rank() == root else inputs[rank()]
                assert_close(tensor, expected, ("reduce", dtype, count, root))


def reduce_scatter() -> None:
    for dtype in ALL:
        for op in ops_of(dtype)[:2] + ([dist.ReduceOp.AVG] if dtype.is_floating_point else []):
            if dtype.is_complex and op != dist.ReduceOp.SUM:
                continue
            for count in (0, 1, 513, 5000):
                inputs = [fill(r, (size(), count), dtype) for r in range(size())]
                expected = reduced(inputs, op)[rank()]
                output = torch.empty(count, dtype=dtype)
                dist.reduce_scatter_tensor(output, inputs[rank()].reshape(-1), op)
                assert_close(output, expected, ("reduce_scatter_tensor", dtype, op, count))
                output = torch.empty(count, dtype=dtype)
                dist.reduce_scatter(output, [row.clone() for row in inputs[rank()]], op)
                assert_close(output, expected, ("reduce_scatter", dtype, op, count))


def long_reductions_go_in_pieces() -> None:
    for dtype in (torch.float32, torch.float64, torch.int64, torch.complex128):
        inputs = [fill(r, (size(), 70_001), dtype) for r in range(size())]
        total = reduced(inputs, dist.ReduceOp.SUM)
        output = torch.empty(70_001, dtype=dtype)
        dist.reduce_scatter_tensor(output, inputs[rank()].flatten())
        assert_close(output, total[rank()], ("long reduce_scatter", dtype))
        for op in (dist.ReduceOp.SUM, dist.ReduceOp.AVG) if dtype.is_floating_point else (dist.ReduceOp.SUM,):
            tensor = inputs[rank()].clone()
            dist.reduce(tensor, size() - 1, op)
            expected = reduced(inputs, op) if rank() == size() - 1 else inputs[rank()]
            assert_close(tensor, expected, ("long reduce", dtype, op))


def uneven_reduce_scatter() -> None:
    counts = [5 * r for r in range(size())]
    inputs = [[fill(r, (count,), torch.float32, salt=i) for i, count in enumerate(counts)] for r in range(size())]
    output = torch.empty(counts[rank()])
    dist.reduce_scatter(output, inputs[rank()])
    assert_close(output, reduced([row[rank()] for row in inputs], dist.ReduceOp.SUM), "uneven reduce_scatter")


def aliased_reduce_scatter_and_all_gather() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        for count in (3, 4096):
            for place in (rank(), 0, size() - 1):  # the own slot, as megatron does it, and others
                inputs = [fill(r, (size() * count,), dtype) for r in range(size())]
                buffer = inputs[rank()].clone()
                expected = reduced(inputs, dist.ReduceOp.SUM)[rank() * count :][:count]
                view = buffer[place * count : (place + 1) * count]
                dist.reduce_scatter_tensor(view, buffer)
                assert_close(view, expected, ("aliased reduce_scatter", dtype, count, place))

                buffer = torch.zeros(size() * count, dtype=dtype)
                view = buffer[place * count : (place + 1) * count]
                view.copy_(fill(rank(), (count,), dtype))
                dist.all_gather_into_tensor(buffer, view)
                expected = torch.cat([fill(r, (count,), dtype) for r in range(size())])
                assert torch.equal(buffer, expected), ("aliased all_gather", dtype, count, place)
    # An output that straddles two slots.
    inputs = [fill(r, (size() * 8,), torch.bfloat16) for r in range(size())]
    if size() > 1:
        buffer = inputs[rank()].clone()
        dist.reduce_scatter_tensor(buffer[4:12], buffer)
        expected = reduced(inputs, dist.ReduceOp.SUM)[rank() * 8 :][:8]
        assert_close(buffer[4:12], expected, "straddling reduce_scatter")


def broadcast() -> None:
    for dtype in (*ALL, torch.uint16, torch.float8_e4m3fn):
        for root in range(size()):
            tensor = fill(rank(), (100,), torch.float32).to(dtype)
            dist.broadcast(tensor, root)
            expected = fill(root, (100,), torch.float32).to(dtype)
            assert torch.equal(tensor.view(torch.uint8), expected.view(torch.uint8)), (dtype, root)
    dist.broadcast(torch.empty(0), 0)


def all_gather() -> None:
    for dtype in ALL:
        for count in (0, 1, 1000):
            expected = [fill(r, (count, 2), dtype) for r in range(size())]
            outputs = [torch.empty(count, 2, dtype=dtype) for _ in range(size())]
            dist.all_gather(outputs, expected[rank()])
            assert all(map(torch.equal, outputs, expected)), ("all_gather", dtype, count)
            output = torch.empty(size() * count, 2, dtype=dtype)
            dist.all_gather_into_tensor(output, expected[rank()])
            assert torch.equal(output, torch.cat(expected)), ("all_gather_into_tensor", dtype, count)


def uneven_all_gather() -> None:
    expected = [fill(r, (3 * r,), torch.bfloat16) for r in range(size())]
    outputs = [torch.empty_like(tensor) for tensor in expected]
    dist.all_gather(outputs, expected[rank()])
    assert all(map(torch.equal, outputs, expected))


def coalesced() -> None:
    shapes = ((3,), (0,), (2, 5), (4097,))
    tensors = [fill(rank(), shape, torch.bfloat16, i) for i, shape in enumerate(shapes)]
    with dist._coalescing_manager(async_ops=True) as manager:
        for tensor in tensors:
            dist.all_reduce(tensor)
    manager.wait()
    for i, shape in enumerate(shapes):
        inputs = [fill(r, shape, torch.bfloat16, i) for r in range(size())]
        assert_close(tensors[i], reduced(inputs, dist.ReduceOp.SUM), ("coalesced all_reduce", shape))

    outputs = [torch.empty(size(), *shape) for shape in shapes]
    with dist._coalescing_manager():
        for i, shape in enumerate(shapes):
            dist.all_gather_into_tensor(outputs[i], fill(rank(), shape, torch.float32, i))
    for i, shape in enumerate(shapes):
        assert torch.equal(outputs[i], torch.stack([fill(r, shape, torch.float32, i) for r in range(size())]))

    outputs = [torch.empty(shape) for shape in shapes]
    with dist._coalescing_manager():
        for i, shape in enumerate(shapes):
            dist.reduce_scatter_tensor(outputs[i], fill(rank(), (size(), *shape), torch.float32, i))
    for i, shape in enumerate(shapes):
        inputs = [fill(r, (size(), *shape), torch.float32, i)[rank()] for r in range(size())]
        assert_close(outputs[i], reduced(inputs, dist.ReduceOp.SUM), ("coalesced reduce_scatter", shape))

    lists = [[torch.empty(shape) for _ in range(size())] for shape in shapes]
    dist.all_gather_coalesced(
        [[lists[i][r] for i in range(len(shapes))] for r in range(size())],
        [fill(rank(), shape, torch.float32, i) for i, shape in enumerate(shapes)],
    )
    for i, shape in enumerate(shapes):
        assert all(torch.equal(lists[i][r], fill(r, shape, torch.float32, i)) for r in range(size()))


def all_to_all() -> None:
    for dtype in (torch.float32, torch.bool, torch.complex64):
        for count in (0, 1, 300):
            sent = [fill(r, (size(), count), dtype) for r in range(size())]
            output = torch.empty(size() * count, dtype=dtype)
            dist.all_to_all_single(output, sent[rank()].reshape(-1))
            expected = torch.stack([sent[r][rank()] for r in range(size())])
            assert torch.equal(output, expected.reshape(-1)), ("all_to_all_single", dtype, count)
            outputs = list(torch.empty(size(), count, dtype=dtype).unbind(0))
            dist.all_to_all(outputs, list(sent[rank()].unbind(0)))
            assert torch.equal(torch.stack(outputs), expected), ("all_to_all", dtype, count)
    # In place.
    buffer = fill(rank(), (size() * 4,), torch.float32)
    dist.all_to_all_single(buffer, buffer)
    assert torch.equal(
        buffer,
        torch.cat([fill(r, (size(), 4), torch.float32).flatten().view(size(), 4)[rank()] for r in range(size())]),
    )


def uneven_all_to_all() -> None:
    counts = lambda source: [(source + 2 * target) % 4 for target in range(size())]  # noqa: E731 - zeros among them
    sent = [fill(r, (sum(counts(r)), 3), torch.bfloat16) for r in range(size())]
    received = [counts(r)[rank()] for r in range(size())]
    output = torch.empty(sum(received), 3, dtype=torch.bfloat16)
    dist.all_to_all_single(output, sent[rank()], received, counts(rank()))
    expected = torch.cat([sent[r].split(counts(r))[rank()] for r in range(size())])
    assert torch.equal(output, expected)


def gather_and_scatter() -> None:
    for dtype in ALL:
        for root in range(size()):
            rows = [fill(r, (9,), dtype) for r in range(size())]
            outputs = [torch.empty(9, dtype=dtype) for _ in range(size())] if rank() == root else None
            dist.gather(rows[rank()], outputs, root)
            assert outputs is None or all(map(torch.equal, outputs, rows)), ("gather", dtype, root)
            output = torch.empty(9, dtype=dtype)
            dist.scatter(output, rows if rank() == root else None, root)
            assert torch.equal(output, rows[rank()]), ("scatter", dtype, root)


def messages_longer_than_one_mpi_call() -> None:
    load_extension().set_max_count(1000)
    try:
        all_reduce_is_the_same_everywhere()
        for dtype in (torch.float32, torch.bfloat16):
            inputs = [fill(r, (size(), 4097), dtype) for r in range(size())]
            total = reduced(inputs, dist.ReduceOp.SUM)
            tensor = inputs[rank()].clone()
            dist.all_reduce(tensor)
            assert_close(tensor, total, "split all_reduce")
            output = torch.empty(4097, dtype=dtype)
            dist.reduce_scatter_tensor(output, inputs[rank()].flatten())
            assert_close(output, total[rank()], "split reduce_scatter")
            gathered = torch.empty(size(), size(), 4097, dtype=dtype)
            dist.all_gather_into_tensor(gathered, inputs[rank()])
            assert torch.equal(gathered, torch.stack(inputs))
            tensor = inputs[rank()].clone()
            dist.broadcast(tensor, size() - 1)
            assert torch.equal(tensor, inputs[-1])
            exchanged = torch.empty(size(), 4097, dtype=dtype)
            dist.all_to_all_single(exchanged, inputs[rank()])
            assert torch.equal(exchanged, torch.stack([row[rank()] for row in inputs]))
        right, left = (rank() + 1) % size(), (rank() - 1) % size()
        if size() > 1:
            received, request = torch.empty(4097), dist.isend(fill(rank(), (4097,), torch.float32), right)
            source = dist.recv(received) if size() > 2 else dist.recv(received, left)
            request.wait()
            assert source == left and torch.equal(received, fill(left, (4097,), torch.float32))
    finally:
        load_extension().set_max_count(2**30)


def messages() -> None:
    if size() == 1:
        return
    right, left = (rank() + 1) % size(), (rank() - 1) % size()
    for dtype in (*ALL, torch.float8_e5m2):
        for count in (0, 1, 200_000):  # an empty, an eager and a rendezvous message
            sent, received = fill(rank(), (count,), torch.float32).to(dtype), torch.zeros(count).to(dtype)
            requests = dist.batch_isend_irecv(
                [dist.P2POp(dist.isend, sent, right), dist.P2POp(dist.irecv, received, left)]
            )
            for request in requests:
                request.wait()
            expected = fill(left, (count,), torch.float32).to(dtype)
            assert torch.equal(received.view(torch.uint8), expected.view(torch.uint8)), (dtype, count)
    # Tags choose among messages of one sender, whatever the order.
    requests = [dist.isend(torch.tensor([float(tag)]), right, tag=tag) for tag in (5, 3, 4)]
    for tag in (3, 4, 5):
        received = torch.zeros(1)
        assert dist.recv(received, left, tag=tag) == left
        assert received.item() == tag
    for request in requests:
        request.wait()
    # From anybody.
    if rank() == 0:
        seen = {}
        for _ in range(size() - 1):
            received = torch.zeros(2)
            source = dist.recv(received)
            seen[source] = received[0].item()
        assert seen == {r: float(r) for r in range(1, size())}, seen
    else:
        dist.send(torch.full((2,), float(rank())), 0)


def sent_storage_may_be_freed() -> None:
    if size() == 1:
        return
    right, left = (rank() + 1) % size(), (rank() - 1) % size()
    requests = []
    for i in range(20):
        tensor = torch.full((300_000,), float(100 * rank() + i))
        requests.append(dist.isend(tensor, right, tag=i))
        tensor.data = torch.empty(1)  # what megatron's deallocate_pipeline_outputs does
        del tensor
        torch.full((300_000,), -1.0)  # would take the freed memory
    gc.collect()
    others = [torch.full((300_000,), -1.0) for _ in range(20)]
    dist.barrier()
    del others
    for i in range(20):
        received = torch.empty(300_000)
        dist.recv(received, left, tag=i)
        assert (received == 100 * left + i).all(), i
    for request in requests:
        request.wait()


def objects() -> None:
    everything = [None] * size()
    dist.all_gather_object(everything, {"rank": rank(), "text": "語" * rank()})
    assert everything == [{"rank": r, "text": "語" * r} for r in range(size())]
    root = size() - 1
    listed = [f"from {rank()}", rank()]
    dist.broadcast_object_list(listed, root)
    assert listed == [f"from {root}", root]
    gathered = [None] * size() if rank() == root else None
    dist.gather_object([rank()] * rank(), gathered, root)
    assert rank() != root or gathered == [[r] * r for r in range(size())]
    mine = [None]
    dist.scatter_object_list(mine, [{"for": r} for r in range(size())] if rank() == 0 else None, 0)
    assert mine == [{"for": rank()}]


def asynchronous_work() -> None:
    tensor = fill(rank(), (100_000,), torch.bfloat16)
    work = dist.all_reduce(tensor, async_op=True)
    while not work.is_completed():
        pass
    assert work.is_success()
    expected = reduced([fill(r, (100_000,), torch.bfloat16) for r in range(size())], dist.ReduceOp.SUM)
    assert_close(tensor, expected, "polled")
    # A future is completed although nobody drives progress but its waiter.
    tensor = torch.full((100_000,), float(rank()))
    values = dist.all_reduce(tensor, async_op=True).get_future().then(lambda future: future.value()[0].sum()).wait()
    assert values.item() == 100_000 * size() * (size() - 1) / 2
    # Work that nobody waits for and nobody holds.
    forgotten = torch.ones(1000)
    dist.all_reduce(forgotten, async_op=True)
    dist.barrier()
    works = [dist.all_reduce(torch.ones(10), async_op=True) for _ in range(50)]
    for work in reversed(works):
        work.wait(datetime.timedelta(seconds=30))
    for _ in range(20):  # whoever waits drives everything, but only its own work is over then
        dist.barrier()
    assert (forgotten == size()).all()


def sub_groups() -> None:
    every_subset = [[r for r in range(size()) if mask >> r & 1] for mask in range(1, 2 ** size())]
    groups = [(ranks, dist.new_group(ranks)) for ranks in every_subset for _ in range(2)]
    backwards = list(range(size()))[::-1]
    groups.append((sorted(backwards), dist.new_group(backwards)))
    for ranks, group in groups:
        if rank() not in ranks:
            continue
        tensor = torch.tensor([float(10 ** rank())])
        dist.all_reduce(tensor, group=group)
        assert tensor.item() == sum(10**r for r in ranks), ranks
        assert group.rank() == ranks.index(rank())
        listed = [torch.zeros(1) for _ in ranks]
        dist.all_gather(listed, torch.tensor([float(rank())]), group=group)
        assert [t.item() for t in listed] == ranks
    for ranks, group in groups:
        if rank() in ranks:
            dist.destroy_process_group(group)


def two_groups_in_any_order() -> None:
    """Operations on several groups, issued and awaited in an order of each rank's own."""
    groups = [dist.new_group(list(range(size()))) for _ in range(3)]
    shuffler = random.Random(rank())
    for round_number in range(60):
        dtype = (torch.float32, torch.bfloat16)[round_number % 2]
        count = (5, 5000, 60_000)[round_number % 3]
        order = list(range(len(groups)))
        shuffler.shuffle(order)
        tensors = [torch.full((count,), float(rank() + i), dtype=dtype) for i in range(len(groups))]
        works = {i: dist.all_reduce(tensors[i], group=groups[i], async_op=True) for i in order}
        shuffler.shuffle(order)
        for i in order:
            works[i].wait()
            assert (tensors[i] == size() * i + size() * (size() - 1) // 2).all()
    for group in groups:
        dist.destroy_process_group(group)


def many_groups() -> None:
    groups = [dist.new_group([i % size(), (i + 1) % size()] if size() > 1 else [0]) for i in range(100)]
    for i, group in enumerate(groups):
        members = {i % size(), (i + 1) % size()}
        if rank() in members:
            tensor = torch.ones(1)
            dist.all_reduce(tensor, group=group)
            assert tensor.item() == len(members)
            dist.destroy_process_group(group)


def gloo_beside() -> None:
    group = dist.new_group(backend="gloo")
    tensor = torch.ones(3)
    dist.all_reduce(tensor, group=group)
    assert (tensor == size()).all()
    named = dist.new_group(backend="mpi")
    ours = dist.new_group(backend=comm.BACKEND)
    names = [dist.get_backend(each) for each in (None, dist.new_group(), named, ours, group)]
    assert names == ["mpi", "mpi", "mpi", comm.BACKEND, "gloo"], names
    assert named.name() == "mpi", named.name()
    dist.all_reduce(tensor, group=named)
    assert (tensor == size() ** 2).all()


def a_monitored_barrier_names_who_is_missing() -> None:
    limit, group = datetime.timedelta(seconds=0.3), dist.new_group()
    for wait_all in (False, True):
        dist.monitored_barrier(group, datetime.timedelta(seconds=30), wait_all_ranks=wait_all)
    if size() == 1 or rank() == size() - 1:
        return
    last = size() - 1
    said = message_of(lambda: dist.monitored_barrier(group, limit))
    if rank() == 0:
        assert f"Rank {last} failed to pass monitoredBarrier in 300 ms" in said, said
    else:
        assert f"Rank {rank()} successfully reached monitoredBarrier, but" in said, said


def message_of(call) -> str:
    try:
        call()
    except (ValueError, RuntimeError) as error:
        return str(error)
    raise AssertionError("was accepted")


def wrong_arguments_are_refused() -> None:
    assert "contiguous" in message_of(lambda: dist.all_reduce(torch.ones(4, 4).t()[:2]))
    twice = dist._make_nccl_premul_sum(2.0)
    assert "not whole" in message_of(lambda: dist.all_reduce(torch.ones(1, dtype=torch.int32), twice))
    assert "PREMUL_SUM" in message_of(lambda: dist.reduce(torch.ones(1), 0, twice))
    assert "AVG" in message_of(lambda: dist.all_reduce(torch.ones(1, dtype=torch.int32), dist.ReduceOp.AVG))
    assert "BAND" in message_of(lambda: dist.all_reduce(torch.ones(1), dist.ReduceOp.BAND))
    assert "Float8_e4m3fn" in message_of(lambda: dist.all_reduce(torch.ones(1).to(torch.float8_e4m3fn)))
    assert "not in group" in message_of(lambda: dist.group.WORLD.send([torch.ones(1)], size(), 0))
    assert "tag" in message_of(lambda: dist.group.WORLD.send([torch.ones(1)], 0, 2**31 - 1))
    tensor = torch.ones(1)
    dist.all_reduce(tensor)  # and the group is still in step
    assert tensor.item() == size()


def statistics_and_trace() -> None:
    import time

    group = dist.new_group(list(range(size())))
    comm.reset_statistics()
    comm.set_tracing(True)
    before_s = time.monotonic()
    for _ in range(3):
        dist.all_reduce(torch.ones(1000), group=group)
    dist.all_gather_into_tensor(torch.empty(10 * size()), torch.ones(10), group=group)
    after_s = time.monotonic()
    comm.set_tracing(False)
    dist.barrier()
    rows = {(row.group_name, row.operation): row for row in comm.statistics()}
    row = rows[group.group_name, "all_reduce"]
    assert (row.num_calls, row.num_bytes) == (3, 12_000) and 0 < row.wait_s < after_s - before_s
    assert rows[group.group_name, "all_gather"].num_bytes == 40 * size()
    events = [event for event in comm.drain_trace() if event.group_name == group.group_name]
    assert [(event.operation, event.sequence) for event in events] == [
        ("all_reduce", 1), ("all_reduce", 2), ("all_reduce", 3), ("all_gather", 4),
    ]  # fmt: skip
    for event in events:
        assert before_s <= event.start_s <= event.wait_start_s <= event.end_s <= after_s
    assert comm.drain_trace() == []
    comm.reset_statistics()
    assert comm.statistics() == []


def functional_collectives() -> None:
    import torch.distributed._functional_collectives as funcol

    world = dist.group.WORLD
    assert (funcol.all_reduce(torch.ones(4), "sum", world) == size()).all()
    gathered = funcol.all_gather_tensor(torch.full((2,), float(rank())), 0, world)
    assert gathered.tolist() == [float(r) for r in range(size()) for _ in range(2)]
    assert (funcol.reduce_scatter_tensor(torch.ones(2 * size()), "avg", 0, world) == 1).all()
    sent = torch.arange(size()).float() + 10 * rank()
    received = funcol.all_to_all_single(sent, None, None, world)
    assert received.tolist() == [10.0 * r + rank() for r in range(size())]
    pair = funcol.all_reduce_coalesced([torch.ones(1), torch.ones(2)], "sum", world)
    assert all((tensor == size()).all() for tensor in pair)


checks_to_run = (
    all_reduce,
    all_reduce_is_the_same_everywhere,
    halves_round_once,
    reduce,
    reduce_scatter,
    long_reductions_go_in_pieces,
    uneven_reduce_scatter,
    aliased_reduce_scatter_and_all_gather,
    broadcast,
    all_gather,
    uneven_all_gather,
    coalesced,
    all_to_all,
    uneven_all_to_all,
    gather_and_scatter,
    messages_longer_than_one_mpi_call,
    messages,
    sent_storage_may_be_freed,
    objects,
    asynchronous_work,
    sub_groups,
    two_groups_in_any_order,
    many_groups,
    gloo_beside,
    a_monitored_barrier_names_who_is_missing,
    wrong_arguments_are_refused,
    statistics_and_trace,
    functional_collectives,
)
