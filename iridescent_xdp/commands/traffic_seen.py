# SPDX-License-Identifier: GPL-2.0-only
"""Whether packets arrive, and how many: the function's own counters, else the interface's."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pyroute2 import IPRoute

from iridescent_xdp.controller import Controller

VERDICT = "verdict "  # rows of a companion's counters in which each packet is counted once


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What had arrived at one moment."""

    packets: int
    bytes: int
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Between two readings."""

    pps: float
    bits_per_s: float

    @classmethod
    def between(cls, first: Reading, second: Reading) -> Rate:
        """Packets and bits per second."""
        seconds = max(1e-9, second.at - first.at)
        return cls(
            pps=(second.packets - first.packets) / seconds,
            bits_per_s=(second.bytes - first.bytes) * 8 / seconds,
        )


def read_traffic(controller: Controller) -> Reading:
    """Packets and bytes that the function decided about, or that the interface received."""
    rows = controller.plan.function.counters(controller.state)
    verdicts = [row for row in rows if row.name.startswith(VERDICT)]
    if verdicts:
        return Reading(
            packets=sum(row.packets for row in verdicts), bytes=sum(row.bytes for row in verdicts)
        )
    with IPRoute() as route:
        for message in route.get_links(controller.interface.index):
            counted = message.get_attr("IFLA_STATS64")
            return Reading(packets=counted["rx_packets"], bytes=counted["rx_bytes"])
    return Reading(packets=0, bytes=0)
