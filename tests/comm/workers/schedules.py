"""Collectives by each algorithm against references computed on one rank; the ranks do not share memory."""

from __future__ import annotations

import contextlib
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
    return ["ring", "halving", *(f"lanes:{shape}" for shape in SHAPES[size()])]


def ops_of(dtype: torch.dtype) -> list:
    return [dist.ReduceOp.SUM, dist.ReduceOp.MAX, *([dist.ReduceOp.AVG] if dtype.is_floating_point else [])]


def all_reduce_by_each_algorithm() -> None:
    for name in (*schedules(), "doubling", "mpi", "pieces"):
        with algorithm(f"all_reduce={name}"):
            for dtype in DTYPES:
                for op in ops_of(dtype):
                    for count in COUNTS:
                        tensor = fill(rank(), (count,), dtype)
                        dist.all_reduce(tensor, op)
                        expected = reduced([fill(r, (count,), dtype) for r in range(size())], op)
                        assert_close(tensor, expected, ("all_reduce", name, dtype, op, count))


def reduce_scatter_by_each_algorithm() -> None:
    for name in (*schedules(), "mpi", "pieces"):
        with algorithm(f"reduce_scatter={name}"):
            for dtype in DTYPES:
                for op in ops_of(dtype):
                    for count in COUNTS[:4]:
                        inputs = [fill(r, (size(), count), dtype) for r in range(size())]
                        expected = reduced(inputs, op)[rank()]
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
    for name in ("pieces", "ring", "halving"):
        with algorithm(f"all_reduce:1000={name}"):
            sums[name] = fill(rank(), (70_001,), torch.float32)
            dist.all_reduce(sums[name])
    assert not torch.equal(sums["ring"], sums["pieces"])
    assert not torch.equal(sums["halving"], sums["pieces"])
    assert not torch.equal(sums["halving"], sums["ring"])


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
        assert comm.algorithms()[:2] == ["all_reduce:100=halving", "all=lanes:2x3"]
        assert comm.algorithms()[-1] == "all=pieces"
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
    many_at_a_time,
    long_messages_in_parts,
    ranks_that_disagree_about_a_tensor_are_told,
    rules_are_read_and_shown,
)
