"""When a sum may be left out. That leaving it out changes no bit and spares a call, tests/train and tests/plan say."""

from types import SimpleNamespace

import pytest
import torch

from megatron_fugaku.model.recompute import LayerOutputLinear

ALONE = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}


def build_linear(recompute: dict, sequence_parallel: bool = False) -> LayerOutputLinear:
    """Return one without weights and groups: only what decides."""
    linear = LayerOutputLinear.__new__(LayerOutputLinear)
    torch.nn.Module.__init__(linear)
    linear.config = SimpleNamespace(**recompute)
    linear.sequence_parallel, linear.skip_bias_add = sequence_parallel, True
    return linear


def test_the_second_pass_of_a_layer_that_is_recomputed_by_itself():
    linear = build_linear(ALONE)
    assert linear._is_recomputing_last()
    with torch.no_grad():  # the first pass
        assert not linear._is_recomputing_last()
    assert not linear.eval()._is_recomputing_last()
    assert not build_linear(ALONE, sequence_parallel=True)._is_recomputing_last()


@pytest.mark.parametrize("changes", [{"recompute_granularity": None}, {"recompute_granularity": "selective"},
                                     {"recompute_method": "block"}, {"recompute_num_layers": 2}])
def test_other_ways_to_recompute_sum_up(changes):
    assert not build_linear({**ALONE, **changes})._is_recomputing_last()
