"""What collectives on a torus are to reach by the model, for the 13B run on 13,824 nodes."""

from __future__ import annotations

from megatron_fugaku.plan.compare import ROW_ORDER
from megatron_fugaku.plan.step_time import FLAT_RINGS, FUJITSU

#: Least share of the lower bound for the run's own tensor- and data-parallel vectors, by cost model.
SHARE_OF_BOUND = {"fluid": 0.99, "with overheads": 0.93}

ROW_RINGS = f"{ROW_ORDER}, {FLAT_RINGS}"
ROW_FUJITSU = f"{ROW_ORDER}, {FUJITSU}"
#: Least factor on a step's communication, by payload and what it is compared with.
STEP_RATIOS = {("", ROW_RINGS): 5.5, ("", ROW_FUJITSU): 3.5, ("16-bit", ROW_RINGS): 11.0, ("16-bit", ROW_FUJITSU): 7.0}
