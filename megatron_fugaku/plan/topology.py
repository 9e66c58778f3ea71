"""What a user writes about the network, such as ``48x6x48`` or ``24x12l``, and the torus that it means."""

from __future__ import annotations

import re

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.tofu import build_tofu, is_whole_units
from megatron_fugaku.plan.torus import Axis, Torus

AXIS_NAMES = "XYZUVW"
PLAIN = "plain"
LINE = "l"
_SIZE = rf"[1-9]\d*{LINE}?"


def parse_torus(text: str) -> tuple[int, ...]:
    """Turn ``48x6x48`` (or ``48x6x48:torus:strict-io``) into ``(48, 6, 48)``.

    Raises:
        PlanError: it has not one to three positive sizes.
    """
    shape = text.split(":")[0]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", shape):
        raise PlanError(f"torus {text!r} is not of the form 48x6x48", "nodes are numbered along one to three axes",
                        "write one to three positive sizes with x between them", "launch.topology")
    return tuple(int(size) for size in shape.split("x"))


def build_torus(text: str) -> Torus:
    """Return the network that a text describes.

    Three sizes that are multiples of 2, 3 and 2 are a job on Fugaku, with the axes X Y Z A B C of Tofu-D. Any other one
    to six sizes are a torus of that many axes; ``l`` after a size makes a line of it, which is not closed. ``:plain``
    makes three sizes such a torus too. What else stands behind a colon, as in ``48x6x48:torus:strict-io``, is PJM's.

    Raises:
        PlanError: the text is not of this form.
    """
    shape, *words = text.split(":")
    if not re.fullmatch(rf"{_SIZE}(x{_SIZE}){{0,5}}", shape):
        raise PlanError(f"torus {text!r} is not of the form 48x6x48", "a network has one to six axes of nodes",
                        "write positive sizes with x between them, and l after the size of an axis that is not closed",
                        "--torus")
    parts = shape.split("x")
    sizes = tuple(int(part.removesuffix(LINE)) for part in parts)
    if PLAIN not in words and LINE not in shape and is_whole_units(sizes):
        return build_tofu(sizes)
    axes = tuple(Axis(name, size, not part.endswith(LINE))
                 for name, size, part in zip(AXIS_NAMES, sizes, parts, strict=False))
    return Torus(axes)
