"""Patterns of messages laid on a torus for all groups at once: bytes on the busiest link, and the time that follows.

A model, not a measurement: messages of a stage share links and are over when the busiest link has carried its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from megatron_fugaku.plan.collectives import Pattern
from megatron_fugaku.plan.cost_model import CostModel
from megatron_fugaku.plan.torus import Torus


@dataclass(frozen=True)
class Load:
    """What one stage does to the network, per byte of the vector.

    Attributes:
        link: bytes on the busiest link.
        node: bytes that the busiest node sends.
        hops: of the longest message.
        messages: that the busiest node sends.
        repeats, depth: as in the stage.
    """

    link: float
    node: float
    hops: int
    messages: int
    repeats: int
    depth: int


def measure_pattern(torus: Torus, groups: np.ndarray, pattern: Pattern) -> tuple[Load, ...]:
    """Lay a pattern on the torus, for all groups at the same time.

    Args:
        torus: the network.
        groups: node of each member of each group, int64 of shape (groups, members).
        pattern: what each group sends.
    """
    loads = []
    for stage in pattern:
        source, target = groups[:, stage.source].ravel(), groups[:, stage.target].ravel()
        share = np.broadcast_to(stage.share, stage.source.shape)
        share = np.broadcast_to(share, (len(groups), len(share))).ravel()
        away = source != target
        source, target, share = source[away], target[away], share[away]
        if not source.size:
            continue
        links = torus.link_loads(source, target, share)
        loads.append(Load(float(links.max()), float(np.bincount(source, share).max()),
                          int(torus.hops(source, target).max()), int(np.bincount(source).max()), stage.repeats,
                          stage.depth))
    return tuple(loads)


def pattern_seconds(torus: Torus, loads: tuple[Load, ...], num_bytes: float, model: CostModel) -> float:
    """Return how long a measured pattern takes for a vector of ``num_bytes``."""
    total = 0.0
    for load in loads:
        busy = model.transfer_s(torus.link_bytes_per_s, load.link * num_bytes, load.node * num_bytes)
        # Hops of the longest message; a message that follows another within a repetition has a neighbour's way.
        latency = load.depth * (model.latency(load.hops) + model.message_s * load.messages)
        total += load.repeats * (busy + latency)
    return total
