import pytest

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.tofu import TofuTorus
from megatron_fugaku.plan.topology import build_torus, parse_torus


@pytest.mark.parametrize("text, shape", [("48x6x48", (48, 6, 48)), ("12", (12,)), ("4x2:torus:strict-io", (4, 2))])
def test_shapes_of_jobs(text, shape):
    assert parse_torus(text) == shape


@pytest.mark.parametrize("text", ["", "48x", "0x4", "2x2x2x2", "axb", "4 x 2", "-4"])
def test_bad_shapes_of_jobs(text):
    with pytest.raises(PlanError, match="is not of the form 48x6x48"):
        parse_torus(text)


@pytest.mark.parametrize("text, sizes, tofu, description", [
    ("48x6x48", (24, 2, 24, 2, 3, 2), True, "48x6x48 on Tofu-D: X24 Y2 Z24 A2 B3 C2"),
    ("48x6x48:torus:strict-io", (24, 2, 24, 2, 3, 2), True, "48x6x48 on Tofu-D: X24 Y2 Z24 A2 B3 C2"),
    ("48x6x48:plain", (48, 6, 48), False, "48x6x48 torus"),
    ("4x4x4", (4, 4, 4), False, "4x4x4 torus"),
    ("24x12l", (24, 12), False, "24x12 torus, Y open"),
    ("24x2x24x2x3x2", (24, 2, 24, 2, 3, 2), False, "24x2x24x2x3x2 torus"),
    ("7", (7,), False, "7 torus"),
])
def test_networks(text, sizes, tofu, description):
    torus = build_torus(text)
    assert torus.sizes == sizes and isinstance(torus, TofuTorus) == tofu and torus.describe() == description
    assert torus.num_nodes == torus.coordinates(range(torus.num_nodes)).shape[0]


@pytest.mark.parametrize("text", ["", "x", "4x", "0x4", "4x-1", "2x2x2x2x2x2x2", "4 x 4", "4xl", "l4", "4.5", "４"])
def test_bad_networks(text):
    with pytest.raises(PlanError, match=r"is not of the form 48x6x48.*\[--torus\]"):
        build_torus(text)
