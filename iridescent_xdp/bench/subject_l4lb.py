# SPDX-License-Identifier: GPL-2.0-only
"""The load balancer with ten services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from iridescent_xdp.bench import services
from iridescent_xdp.bench.mixes import balanced_traffic
from iridescent_xdp.bench.subject import LOOPBACK, Changes, Egress, Leaves, Subject
from iridescent_xdp.functions.l4lb_tables import L4lbTables
from traffic.mix_shares import Locality
from traffic.mix_stream import Stream


class L4lbSubject(Subject):
    """See the module."""

    name = "l4lb"
    narrow: ClassVar[Changes] = {"no_ip_options": True}
    fast: ClassVar[Changes] = {
        "service_layout": "compiled",
        "flow_cache": True,
        "encapsulation": "ipip",
    }
    leaves = Leaves.BACK
    quick_fixed = ("encapsulation", "service_layout", "hot_flows")
    hot_points: ClassVar[Mapping[str, str]] = {"hot_flows": "16"}

    def __init__(self, count: int = services.COUNT) -> None:
        self.count = count

    def tables(self, egress: Egress = LOOPBACK) -> L4lbTables:  # noqa: ARG002
        """The services; what they send goes back where packets come from."""
        return services.tables(self.count)

    def stream(self, locality: Locality, break_share: float = 0.0) -> Stream:
        """To every service alike, but for the locality of the flows."""
        return balanced_traffic(locality, break_share)
