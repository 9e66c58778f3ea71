"""Which samples each rank reads: all of a global batch, each once, at any layout."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.data.batches import iterate_batches, sample_indices

counts = st.integers(1, 6)


def samples_of_step(first: int, micro_batch_size: int, num_microbatches: int, replicas: int) -> list[list[list[int]]]:
    return [sample_indices(first, micro_batch_size, num_microbatches, rank, replicas) for rank in range(replicas)]


@given(st.integers(0, 10**12), counts, counts, counts)
def test_a_step_reads_its_global_batch_once(first, micro_batch_size, num_microbatches, replicas):
    by_rank = samples_of_step(first, micro_batch_size, num_microbatches, replicas)
    assert all(len(batches) == num_microbatches for batches in by_rank)
    assert all(len(batch) == micro_batch_size for batches in by_rank for batch in batches)
    read = sorted(sample for batches in by_rank for batch in batches for sample in batch)
    assert read == list(range(first, first + micro_batch_size * num_microbatches * replicas))


@given(st.integers(0, 10**6), counts, counts, counts, st.data())
def test_every_layout_reads_the_same_samples(first, micro_batch_size, num_microbatches, replicas, data):
    global_batch = micro_batch_size * num_microbatches * replicas
    divisors = [n for n in range(1, global_batch + 1) if global_batch % n == 0]
    other_replicas = data.draw(st.sampled_from(divisors))
    per_replica = global_batch // other_replicas
    other_micro = data.draw(st.sampled_from([n for n in range(1, per_replica + 1) if per_replica % n == 0]))

    def flat(by_rank):
        return {sample for batches in by_rank for batch in batches for sample in batch}

    assert flat(samples_of_step(first, micro_batch_size, num_microbatches, replicas)) == flat(
        samples_of_step(first, other_micro, per_replica // other_micro, other_replicas))


def test_the_order_is_megatrons():
    # Micro-batch by micro-batch, two samples to each of three replicas.
    assert samples_of_step(100, 2, 2, 3) == [[[100, 101], [106, 107]], [[102, 103], [108, 109]],
                                             [[104, 105], [110, 111]]]


def test_samples_become_batches_when_they_are_asked_for():
    read = []

    class Samples:
        def __getitem__(self, index):
            read.append(index)
            return {"tokens": torch.tensor([index, index + 1]), "loss_mask": torch.ones(2).numpy()}

    batches = iterate_batches(Samples(), [[3, 5], [7, 9]])
    assert read == []
    first = next(batches)
    assert read == [3, 5]
    assert torch.equal(first["tokens"], torch.tensor([[3, 4], [5, 6]]))
    assert (first["tokens"].dtype, first["loss_mask"].dtype) == (torch.int64, torch.float32)
    assert first["loss_mask"].shape == (2, 2)
    assert len(list(batches)) == 1
