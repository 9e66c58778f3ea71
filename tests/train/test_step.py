"""The pieces of a step that need no ranks: batches of a replica, the loss, and the decision to update."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_run import small_config

from megatron_fugaku.config import build_config
from megatron_fugaku.train import step
from megatron_fugaku.train.step import DataReader, build_forward_step, loss_share, update_parameters


@pytest.fixture
def place(monkeypatch):
    """Pretend to be a rank of a layout."""
    def set_place(dp: tuple[int, int] = (0, 1), tp_rank: int = 0, is_last_stage: bool = True) -> None:
        answers = {"get_data_parallel_rank": dp[0], "get_data_parallel_world_size": dp[1],
                   "get_tensor_model_parallel_rank": tp_rank}
        for name, answer in answers.items():
            monkeypatch.setattr(step.parallel_state, name, lambda answer=answer: answer)
        monkeypatch.setattr(step.parallel_state, "is_pipeline_last_stage", lambda ignore_virtual: is_last_stage)

    set_place()
    return set_place


class Samples:
    """Each sample holds its own number."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"tokens": torch.full((4,), index), "labels": torch.full((4,), index),
                "position_ids": torch.arange(4), "loss_mask": torch.ones(4)}


def make_reader(micro_batch_size: int = 2, global_batch_size: int = 12) -> DataReader:
    train = {"micro_batch_size": micro_batch_size, "global_batch_size": global_batch_size}
    return DataReader(build_config(small_config(Path("none"), Path("run"), train=train)))


def test_a_replica_reads_its_part_and_counts_the_seconds(place):
    place(dp=(1, 3))
    reader = make_reader()
    batches, count = reader.batches(Samples(), 24)
    assert count == 2
    read = [reader.next(batches)["tokens"][:, 0].tolist() for _ in range(count)]
    assert read == [[26, 27], [32, 33]]
    assert reader.seconds > 0
    with pytest.raises(StopIteration):
        next(batches)


class Model:
    """Stands for a chunk; keeps what it was given."""

    def __init__(self, pre_process: bool, post_process: bool):
        self.pre_process, self.post_process = pre_process, post_process

    def __call__(self, tokens, position_ids, attention_mask, labels):
        self.given = (tokens, position_ids, attention_mask, labels)
        return torch.arange(8.0).view(2, 4)


@pytest.mark.parametrize(("pre_process", "post_process", "reads"), [
    (True, True, True), (True, False, True), (False, True, True), (False, False, False)])
def test_only_the_ends_of_the_pipeline_read(place, monkeypatch, pre_process, post_process, reads):
    monkeypatch.setattr(step, "unwrap", lambda chunk: chunk)
    reader, model = make_reader(), Model(pre_process, post_process)
    batches, _ = reader.batches(Samples(), 0)
    output, _ = build_forward_step(reader)(batches, model)
    assert output.shape == (2, 4)
    assert (model.given[0] is not None) == reads
    assert (model.given[3] is not None) == reads
    assert model.given[2] is None, "the causal mask is the model's own"


def test_the_loss_is_the_mean_over_the_mask(place, monkeypatch):
    monkeypatch.setattr(step, "unwrap", lambda chunk: chunk)
    reader = make_reader()
    batch = {"loss_mask": torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])}
    _, loss_func = build_forward_step(reader)(iter([batch]), Model(True, True))
    loss, reported = loss_func(torch.tensor([[1.0, 2.0, 9.0, 9.0], [6.0, 9.0, 9.0, 9.0]], dtype=torch.bfloat16))
    assert (float(loss), loss.dtype) == (3.0, torch.float32)
    loss /= 4  # as the schedule does, in place
    assert float(reported["lm_loss"]) == 3.0


def test_a_batch_of_padding_alone_has_loss_zero(place, monkeypatch):
    monkeypatch.setattr(step, "unwrap", lambda chunk: chunk)
    _, loss_func = build_forward_step(make_reader())(iter([{"loss_mask": torch.zeros(2, 4)}]), Model(True, True))
    assert float(loss_func(torch.full((2, 4), 5.0))[0]) == 0.0


class Optimizer:
    """megatron-core's optimizer as far as the step uses it."""

    def __init__(self, norm: float | None, clip_grad: float = 1.0, found_inf: bool = False):
        self.norm, self.found_inf, self.steps = norm, found_inf, 0
        part = SimpleNamespace(config=SimpleNamespace(clip_grad=clip_grad), optimizer=SimpleNamespace(grad_scale=1.0))
        stub = SimpleNamespace(is_stub_optimizer=True, config=part.config)
        self.chained_optimizers = [part, stub]

    def prepare_grads(self) -> bool:
        return self.found_inf

    def get_grad_norm(self) -> float | None:
        return self.norm

    def step_with_ready_grads(self) -> bool:
        self.steps += 1
        return True


@pytest.mark.parametrize(("settings", "result", "scale"), [
    ({"norm": 2.0}, (2.0, True), 1 / (2 + 1e-6)),
    ({"norm": 2.0, "clip_grad": 0.5}, (2.0, True), 0.5 / (2 + 1e-6)),
    ({"norm": 2.0, "clip_grad": 0.0}, (2.0, True), 1.0),
    ({"norm": 0.5}, (0.5, True), 1.0),
    ({"norm": 0.0}, (0.0, True), 1.0),
    ({"norm": None}, (0.0, True), 1.0),
    ({"norm": math.inf}, (math.inf, False), 1.0),
    ({"norm": 2.0, "found_inf": True}, (2.0, False), 1.0),
])
def test_updates_are_clipped_or_left_out(settings, result, scale):
    optimizer = Optimizer(**settings)
    assert update_parameters(optimizer) == result
    assert optimizer.steps == int(result[1])
    assert optimizer.chained_optimizers[0].optimizer.grad_scale == scale


def test_a_norm_that_is_no_number_leaves_the_weights(monkeypatch):
    optimizer = Optimizer(math.nan)
    norm, updated = update_parameters(optimizer)
    assert math.isnan(norm)
    assert (updated, optimizer.steps) == (False, 0)


def test_shares_of_the_loss_sum_to_its_mean_over_replicas(place):
    total = 0.0
    for replica, loss in enumerate((3.0, 5.0)):
        for is_last_stage in (False, True):
            for tp_rank in (0, 1):
                place((replica, 2), tp_rank, is_last_stage)
                total += loss_share(loss if is_last_stage else 0.0)
    assert total == pytest.approx(4.0)
