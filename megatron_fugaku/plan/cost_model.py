"""What a message is taken to cost: two sets of figures, always reported apart, none of them a measurement of ours."""

from __future__ import annotations

from dataclasses import dataclass

from megatron_fugaku.plan import tofu


@dataclass(frozen=True)
class CostModel:
    """How long messages take.

    Attributes:
        name: for reports.
        efficiency: share of a link's rate that messages get.
        injection_links: links' worth of full rate that a node can send, all interfaces together.
        put_s: from a sender to its neighbour, whatever the size.
        hop_s: for each further link on the way.
        message_s: of the CPU, per message sent and received, one after the other.
    """

    name: str
    efficiency: float = 1.0
    injection_links: float = float(tofu.NUM_INTERFACES)
    put_s: float = 0.0
    hop_s: float = 0.0
    message_s: float = 0.0

    @property
    def is_fluid(self) -> bool:
        """Whether only bytes take time."""
        return not (self.put_s or self.hop_s or self.message_s)

    def latency(self, num_hops: int) -> float:
        """Return seconds from sending to receiving, without the bytes."""
        return self.put_s + self.hop_s * max(0, num_hops - 1)

    def transfer_s(self, torus_bytes_per_s: float, link_bytes: float, node_bytes: float) -> float:
        """Return seconds until the busiest link and the busiest node have sent their bytes."""
        return max(link_bytes / self.efficiency, node_bytes / self.injection_links) / torus_bytes_per_s


#: Bytes over bandwidth, and nothing else: what a perfect pipeline would reach.
FLUID = CostModel("fluid")
#: What Tofu-D was measured to reach (sources in plan/tofu.py), and an assumed 0.5 us of CPU per message.
WITH_OVERHEADS = CostModel("with overheads", tofu.LINK_EFFICIENCY, tofu.INJECTION_BYTES_PER_S / tofu.LINK_BYTES_PER_S,
                           tofu.PUT_S, tofu.HOP_S, 0.5e-6)
MODELS = (FLUID, WITH_OVERHEADS)
