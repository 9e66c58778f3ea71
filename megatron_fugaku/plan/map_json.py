"""A rank map as JSON: what the runtime reads to choose its lanes, and a reader that gets the map back.

Per dimension: where its boxes lie (``extents``, ``strides`` by axis name, ``walk_order`` from the axis that changes
fastest), and for TP and DP what a collective needs to know. ``torus`` is the group's own small torus, ``l`` marking a
line; ``torus_ranks[i]`` is the place of the group's rank i on it, numbered with the first dimension fastest (ranks of a
node have the same place); ``lanes`` are shares of the vector with their order of dimensions and directions;
``num_segments`` and ``window`` are how they are best cut for the vectors of this run.
"""

from __future__ import annotations

import json

import numpy as np

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.boxes import NODE_AXIS, PRIORITY, Box
from megatron_fugaku.plan.cost_model import WITH_OVERHEADS
from megatron_fugaku.plan.lanes import LanePlan
from megatron_fugaku.plan.pipeline import ALL_REDUCE, choose_cut
from megatron_fugaku.plan.rank_map import RankMap
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.tofu import TofuTorus, build_tofu
from megatron_fugaku.plan.topology import LINE
from megatron_fugaku.plan.torus import Axis, Torus
from megatron_fugaku.plan.traffic import DATA, TENSOR, Traffic

PLACEMENT_FILE = "placement.json"
#: Of the text; the runtime (megatron_fugaku/comm/placement.py) takes no other.
VERSION = 1


def describe_map(rank_map: RankMap, step_traffic: Traffic | None = None) -> dict:
    """Return the map as JSON-ready data; without traffic the numbers of segments are left out."""
    torus = rank_map.torus
    return {
        "version": VERSION,
        "torus": list(torus.logical_sizes),
        "network": {"kind": "tofu" if isinstance(torus, TofuTorus) else "plain",
                    "axes": [{"name": axis.name, "size": axis.size, "is_ring": axis.is_ring} for axis in torus.axes]},
        "ranks_per_node": rank_map.ranks_per_node,
        "dimensions": {name: _describe_dimension(rank_map, name, step_traffic) for name in PRIORITY},
    }


def _describe_dimension(rank_map: RankMap, name: str, step_traffic: Traffic | None) -> dict:
    box, axes = rank_map.boxes[name], rank_map.torus.axes
    order = [axis for axis in box.order if axis != NODE_AXIS]
    found = {
        "size": rank_map.ranks.size(name),
        "ranks_in_node": box.extents[NODE_AXIS],
        "extents": {axes[axis - 1].name: box.extents[axis] for axis in order},
        "strides": {axes[axis - 1].name: box.strides[axis] for axis in order},
        "walk_order": [axes[axis - 1].name if axis != NODE_AXIS else "node" for axis in box.order],
    }
    if name in (TENSOR, DATA):
        plan = rank_map.lanes(name)
        sizes = [dimension.size for dimension in plan.dimensions]
        values = np.cumprod([1, *sizes])[:-1].astype(np.int64)
        found |= {
            "torus": "x".join(f"{dimension.size}{'' if dimension.closes or dimension.size == 2 else LINE}"
                              for dimension in plan.dimensions),
            "torus_ranks": (rank_map.positions(name) @ values).tolist() if sizes else [0] * rank_map.ranks.size(name),
            "lanes": [{"order": list(lane.order), "directions": list(lane.directions), "weight": round(lane.weight, 12)}
                      for lane in plan.lanes],
        }
        phase = step_traffic.phase(name) if step_traffic else None
        if phase is not None:
            found |= _describe_cut(plan, phase.num_bytes, rank_map.torus)
    return found


def _describe_cut(plan: LanePlan, num_bytes: float, torus: Torus) -> dict:
    cut = choose_cut(plan, num_bytes, ALL_REDUCE, WITH_OVERHEADS, torus.link_bytes_per_s)
    return {"num_bytes": int(num_bytes), "num_segments": cut.num_segments, "window": cut.window}


def render_map(rank_map: RankMap, step_traffic: Traffic | None = None) -> str:
    """Return the JSON text."""
    return _render(describe_map(rank_map, step_traffic), "") + "\n"


def _render(value: object, indent: str) -> str:
    """Render JSON with what is nested deeper on lines of its own, and flat lists and objects on one line."""
    inner = indent + "  "
    if isinstance(value, dict) and any(isinstance(item, dict | list) for item in value.values()):
        items = [f"{json.dumps(key)}: {_render(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + item for item in items) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join(inner + json.dumps(item) for item in value) + f"\n{indent}]"
    return json.dumps(value)


def parse_map(text: str) -> RankMap:
    """Return the map that a JSON text describes.

    Raises:
        PlanError: it is no such text.
    """
    try:
        content = json.loads(text)
        if content["version"] != VERSION:
            raise ValueError(f"of version {content['version']}, not {VERSION}")
        network = content["network"]
        if network["kind"] == "tofu":
            torus = build_tofu(tuple(content["torus"]))
        else:
            torus = Torus(tuple(Axis(axis["name"], axis["size"], axis["is_ring"]) for axis in network["axes"]))
        names = ["node", *(axis.name for axis in torus.axes)]
        boxes = {name: _parse_box(content["dimensions"][name], names) for name in PRIORITY}
        ranks = RankMatrix(**{name: content["dimensions"][name]["size"] for name in PRIORITY})
        return RankMap(torus, content["ranks_per_node"], ranks, boxes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanError(f"the text is not a rank map: {type(error).__name__} {error}", "lanes cannot be chosen from it",
                        "write it again with mfugaku plan --write", PLACEMENT_FILE) from error


def _parse_box(content: dict, names: list[str]) -> Box:
    extents, strides = [1] * len(names), [1] * len(names)
    extents[NODE_AXIS] = content["ranks_in_node"]
    for name, extent in content["extents"].items():
        extents[names.index(name)] = extent
        strides[names.index(name)] = content["strides"][name]
    return Box(tuple(extents), tuple(strides), tuple(names.index(name) for name in content["walk_order"]))
