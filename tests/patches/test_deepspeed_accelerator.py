"""What DeepSpeed is told of the CPUs of an MPI job."""

from __future__ import annotations

import pytest
import torch

from megatron_fugaku.patches.deepspeed_accelerator import build_accelerator

pytest.importorskip("deepspeed")


@pytest.mark.parametrize("enabled", [True, False])
def test_its_random_state_is_forked_by_the_name_of_the_device(enabled):
    """As DeepSpeed's profilers and its tests of pipelines do it."""
    accelerator = build_accelerator(None)
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    with accelerator.random().fork_rng(devices=[accelerator.current_device_name()], enabled=enabled,
                                       device_type=accelerator.device_name()):
        torch.rand(100)
    assert torch.equal(torch.rand(4), expected) == enabled
    assert accelerator.random().manual_seed is torch.random.manual_seed
