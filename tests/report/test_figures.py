import math

import numpy as np
import pytest

from megatron_fugaku.report.figures import smooth, thin_out
from megatron_fugaku.report.timeline_figure import merge_bars


def test_smooth_keeps_a_constant_and_a_slope_and_skips_gaps():
    assert smooth([2.0] * 50) == pytest.approx(np.full(50, 2.0))
    slope = np.arange(100.0)
    assert smooth(slope)[10:90] == pytest.approx(slope[10:90])
    values = [1.0, math.nan, 1.0, math.inf] * 5
    assert smooth(values) == pytest.approx(np.ones(20))


def test_thin_out_takes_means_of_neighbours():
    assert thin_out([1, 2, 3], 3) == pytest.approx([1, 2, 3])
    assert thin_out([1, 3, 5, math.nan, 9], 3) == pytest.approx([2, 5, 9])
    assert math.isnan(thin_out([1, 1, math.nan, math.nan], 2)[1])
    assert len(thin_out(np.zeros(100_001), 1500)) <= 1500


def test_neighbouring_bars_are_joined():
    assert merge_bars([(2.0, 3.0), (0.0, 1.0), (1.05, 1.5)], 0.1) == [(0.0, 1.5), (2.0, 1.0)]
