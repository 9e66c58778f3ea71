"""Collectives by each algorithm against references computed on one rank; the ranks do not share memory."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Iterator

import torch
import torch.distributed as dist
from collectives import (
    aliased_reduce_scatter_and_all_gather,
    assert_close,
    halves_round_once,
    messages_longer_than_one_mpi_call,
    rank,
    reduced,
    size,
    uneven_all_gather,
    uneven_reduce_scatter,
)
from contributions import fill

import megatron_fugaku.comm as comm
from megatron_fugaku import environment
from megatron_fugaku.comm.extension import load_extension

SHAPES = {2: ("2",), 3: ("3", "3l"), 4: ("2x2", "4"), 6: ("2x3", "3x2l"), 8: ("2x2x2", "4x2")}
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int32)
# Nothing, one element, fewer than ranks, odd ones, and one of several segments.
COUNTS = (0, 1, 5, 4097, 70_001)
LONG = 1_500_007


@contextlib.contextmanager
def algorithm(rules: str) -> Iterator[None]:
    load_extension().set_algorithms(rules)
    try:
        yield
    finally:
        dist.barrier()
        load_extension().set_algorithms("")


def schedules() -> list[str]:
    shaped = [f"{name}:{shape}" for name in ("lanes", "swing") for shape in SHAPES[size()]]
    names = ["ring", "halving", "swing", *shaped]
    return names + [f"hierarchical:2+{name}" for name in ("ring", "swing") if size() > 2 and size() % 2 == 0]


def ops_of(dtype: torch.dtype) -> list:
    return [dist.ReduceOp.SUM, dist.ReduceOp.MAX, *([dist.ReduceOp.AVG] if dtype.is_floating_point else [])]


@functools.cache
def inputs_and_reduction(shape: tuple[int, ...], dtype: torch.dtype, op) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Every rank's tensor and what comes out, the same for every algorithm; not to be written to."""
    inputs = [fill(r, shape, dtype) for r in range(size())]
    return inputs, reduced(inputs, op)


def all_reduce_by_each_algorithm() -> None:
    for name in (*schedules(), "doubling", "mpi", "pieces"):
        with algorithm(f"all_reduce={name}"):
            for dtype in DTYPES:
                for op in ops_of(dtype):
                    for count in COUNTS:
                        inputs, expected = inputs_and_reduction((count,), dtype, op)
                        tensor = inputs[rank()].clone()
                        dist.all_reduce(tensor, op)
                        assert_close(tensor, expected, ("all_reduce", name, dtype, op, count))


def reduce_scatter_by_each_algorithm() -> None:
    for name in (*schedules(), "mpi", "pieces"):
        with algorithm(f"reduce_scatter={name}"):
            for dtype in DTYPES:
                for op in ops_of(dtype):
                    for count in COUNTS[:4]:
                        inputs, sums = inputs_and_reduction((size(), count), dtype, op)
                        expected = sums[rank()]
                        output = torch.empty(count, dtype=dtype)
                        dist.reduce_scatter_tensor(output, inputs[rank()].reshape(-1), op)
                        assert_close(output, expected, ("reduce_scatter_tensor", name, dtype, op, count))
                        output = torch.empty(count, dtype=dtype)
                        dist.reduce_scatter(output, [row.clone() for row in inputs[rank()]], op)
                        assert_close(output, expected, ("reduce_scatter", name, dtype, op, count))
            uneven_reduce_scatter()
            aliased_reduce_scatter_and_all_gather()


def all_gather_by_each_algorithm() -> None:
    for name in (*schedules(), "mpi", "pieces"):
        with algorithm(f"all_gather={name}"):
            for dtype in (*DTYPES, torch.bool, torch.complex128):
                for count in COUNTS[:4]:
                    expected = [fill(r, (count,), dtype) for r in range(size())]
                    outputs = [torch.empty(count, dtype=dtype) for _ in range(size())]
                    dist.all_gather(outputs, expected[rank()])
                    assert all(map(torch.equal, outputs, expected)), ("all_gather", name, dtype, count)
                    output = torch.empty(size() * count, dtype=dtype)
                    dist.all_gather_into_tensor(output, expected[rank()])
                    assert torch.equal(output, torch.cat(expected)), ("all_gather_into_tensor", name, dtype, count)
            uneven_all_gather()
            aliased_reduce_scatter_and_all_gather()


def halves_round_once_by_each_algorithm() -> None:
    for name in (*schedules(), "doubling"):
        with algorithm(f"all={name}"):
            halves_round_once()


def results_are_the_same_on_all_ranks_and_again() -> None:
    for name in (*schedules(), "doubling"):
        with algorithm(f"all_reduce={name}"):
            for dtype in (torch.float32, torch.bfloat16):
                first = fill(rank(), (LONG,), dtype)
                dist.all_reduce(first)
                again = fill(rank(), (LONG,), dtype)
                dist.all_reduce(again)
                assert torch.equal(first, again), (name, dtype)
                everybody = [torch.empty_like(first) for _ in range(size())]
                dist.all_gather(everybody, first)
                assert all(torch.equal(first, other) for other in everybody), (name, dtype)


def rules_are_obeyed() -> None:
    """Each way adds in an order of its own, which shows in the last bits."""
    if size() < 3:
        return
    sums = {}
    for name in ("pieces", "ring", "halving", "swing"):
        with algorithm(f"all_reduce:1000={name}"):
            sums[name] = fill(rank(), (70_001,), torch.float32)
            dist.all_reduce(sums[name])
    assert not torch.equal(sums["ring"], sums["pieces"])
    assert not torch.equal(sums["swing"], sums["ring"])
    assert not torch.equal(sums["halving"], sums["pieces"])
    assert not torch.equal(sums["halving"], sums["ring"])


def nodes_of_several_ranks_are_known() -> None:
    """The job of four ranks takes two in a row for a node."""
    per_node = environment.get("MFUGAKU_COMM_RANKS_PER_NODE")
    world = dist.group.WORLD._get_backend(torch.device("cpu"))
    assert comm.transport_of(dist.group.WORLD) == "MPI"
    if per_node == 0:
        assert world.ranks_per_node == size()
        return
    assert world.ranks_per_node == per_node
    pairs = [dist.new_group([first, first + 1]) for first in range(0, size(), 2)]
    assert comm.transport_of(pairs[rank() // 2]) == "shared memory"
    across = dist.new_group([0, 2])
    if rank() in (0, 2):
        assert comm.transport_of(across) == "MPI"
        assert across._get_backend(torch.device("cpu")).ranks_per_node == 1
    with algorithm("all=hierarchical+swing"):
        by_node = fill(rank(), (70_001,), torch.float32)
        dist.all_reduce(by_node)
    with algorithm("all=hierarchical:2+swing"):
        by_number = fill(rank(), (70_001,), torch.float32)
        dist.all_reduce(by_number)
    assert torch.equal(by_node, by_number)
    everybody = [fill(r, (70_001,), torch.float32) for r in range(size())]
    assert_close(by_node, reduced(everybody, dist.ReduceOp.SUM), "nodes of several ranks")


def is_rounded_to(dtype: torch.dtype, tensor: torch.Tensor) -> bool:
    return torch.equal(tensor.to(dtype).float(), tensor)


def long_sums_travel_in_16_bits() -> None:
    count, dtypes = 300_000 // size() * size(), {"bf16": torch.bfloat16, "fp16": torch.float16}
    inputs = [torch.randn(count, generator=torch.Generator().manual_seed(r)) for r in range(size())]
    exact = sum(tensor.double() for tensor in inputs)
    longest = torch.stack(inputs).amax(0)
    for wire, dtype in dtypes.items():
        comm.set_wire_rules(f"NARROW=fp32,NARROW_{wire}={wire}")
        group = dist.new_group(list(range(size())), group_desc=f"NARROW_{wire}")
        wide = dist.new_group(list(range(size())), group_desc="NARROW")
        assert (comm.wire_of(group), comm.wire_of(wide)) == (wire, "fp32")
        # Each hop rounds by at most half a unit in the last place of a sum no larger than the sum of magnitudes.
        bound = sum(tensor.abs().double() for tensor in inputs) * torch.finfo(dtype).eps / 2 * (size() + 1) + 1e-6
        for name in ("", *schedules()):  # without a rule too
            with algorithm(f"all={name}" if name else ""):
                total = inputs[rank()].clone()
                dist.all_reduce(total, group=group)
                assert is_rounded_to(dtype, total), (wire, name)
                assert ((total.double() - exact).abs() <= bound).all(), (wire, name)
                everybody = [torch.empty_like(total) for _ in range(size())]
                dist.all_gather(everybody, total, group=group)
                assert all(torch.equal(total, other) for other in everybody), (wire, name)

                block = torch.empty(count // size())
                dist.reduce_scatter_tensor(block, inputs[rank()].clone(), dist.ReduceOp.AVG, group=group)
                own = slice(rank() * block.numel(), (rank() + 1) * block.numel())
                assert not is_rounded_to(dtype, block), (wire, name)
                assert ((block.double() * size() - exact[own]).abs() <= bound[own]).all(), (wire, name)
                assert not torch.allclose(block.double() * size(), exact[own], rtol=1e-6, atol=1e-6), (wire, name)

                own_input = inputs[rank()].clone()
                gathered = torch.empty(size() * count)
                dist.all_gather_into_tensor(gathered, own_input, group=group)
                assert torch.equal(gathered, torch.cat(inputs)), "gathers are exact"
                dist.all_reduce(own_input, dist.ReduceOp.MAX, group=group)
                assert torch.equal(own_input, longest), "maxima are exact"
                for exactly, elements in ((group, 1000), (wide, count)):
                    part = inputs[rank()][:elements].clone()
                    dist.all_reduce(part, group=exactly)
                    assert not is_rounded_to(dtype, part), (wire, name, elements)
    comm.set_wire_rules("")


def many_at_a_time() -> None:
    """Collectives in flight together, of two groups, waited for in an order of each rank's own."""
    other = dist.new_group(list(reversed(range(size()))))
    with algorithm(f"all:200=lanes:{SHAPES[size()][0]},all=ring"):
        counts = [17, 30_011, 5, 100_003, 2048, 70_001]
        tensors = [fill(rank(), (count,), torch.float32, salt=i) for i, count in enumerate(counts)]
        works = [dist.all_reduce(tensor, group=other if i % 2 else None, async_op=True)
                 for i, tensor in enumerate(tensors)]
        order = list(range(len(works)))
        random.Random(rank()).shuffle(order)
        for i in order:
            works[i].wait()
        for i, count in enumerate(counts):
            inputs = [fill(r, (count,), torch.float32, salt=i) for r in range(size())]
            assert_close(tensors[i], reduced(inputs, dist.ReduceOp.SUM), ("many at a time", count))


def long_messages_in_parts() -> None:
    for name in schedules():
        with algorithm(f"all={name}"):
            messages_longer_than_one_mpi_call()


def ranks_that_disagree_about_a_tensor_are_told() -> None:
    """Whatever carries the collective, also of a type with as many bytes: at once, or, where a rank whose neighbours
    agree with it was done before it could know, in the next collective."""
    tensors = (lambda: torch.ones(100 * (rank() + 1)),
               lambda: torch.ones(100, dtype=torch.int32 if rank() == 1 else torch.float32))
    words = ("disagree", "truncated", "all members must call the same", "of the group says")
    for name in (*schedules(), "doubling", "pieces", "mpi"):
        for make in tensors:
            group = dist.new_group(list(range(size())))
            errors = []
            with algorithm(f"all={name}"):
                for _ in range(2):
                    try:
                        dist.all_reduce(make(), group=group)
                    except dist.DistBackendError as error:
                        errors.append(str(error))
            assert errors and all(any(word in error for word in words) for error in errors), (name, errors)


def rules_are_read_and_shown() -> None:
    with algorithm("all_reduce:100=halving,all=lanes:2x3"):
        assert comm.algorithms() == ["all_reduce:100=halving", "all=lanes:2x3"]
        for text in ("all", "all_reduce=quick", "some=ring", "all_gather=doubling", "all=lanes", "all=lanes:2x",
                     "all:=ring", "all:-1=ring", "all=ring:2", "all=ring,,all=x"):
            try:
                load_extension().set_algorithms(text)
            except ValueError as error:
                assert "MFUGAKU_COMM_ALGORITHM" in str(error), text
            else:
                raise AssertionError(f"{text} was accepted")
        assert comm.algorithms()[0] == "all_reduce:100=halving"


checks_to_run = (
    all_reduce_by_each_algorithm,
    reduce_scatter_by_each_algorithm,
    all_gather_by_each_algorithm,
    halves_round_once_by_each_algorithm,
    results_are_the_same_on_all_ranks_and_again,
    rules_are_obeyed,
    nodes_of_several_ranks_are_known,
    long_sums_travel_in_16_bits,
    many_at_a_time,
    long_messages_in_parts,
    ranks_that_disagree_about_a_tensor_are_told,
    rules_are_read_and_shown,
)
