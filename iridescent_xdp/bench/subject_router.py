# SPDX-License-Identifier: GPL-2.0-only
"""The router with its routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from iridescent_xdp.bench import routes
from iridescent_xdp.bench.mixes import routed_traffic
from iridescent_xdp.bench.subject import LOOPBACK, Changes, Egress, Leaves, Subject
from iridescent_xdp.functions.router_tables import Network, RouterTables
from iridescent_xdp.state import State
from traffic.mix_shares import Locality
from traffic.mix_stream import Stream


class RouterSubject(Subject):
    """See the module."""

    name = "router"
    fast: ClassVar[Changes] = {"lookup": "flat"}
    leaves = Leaves.THROUGH
    quick_fixed = ("checksum_update", "hot_keys")
    hot_points: ClassVar[Mapping[str, str]] = {"hot_keys": "16"}

    def __init__(self, count: int = routes.COUNT) -> None:
        self.count = count

    def tables(self, egress: Egress = LOOPBACK) -> RouterTables:
        """The routes, all over ``egress``."""
        return routes.tables(egress, self.count)

    def stream(self, locality: Locality, break_share: float = 0.0) -> Stream:
        """To every route alike, but for the locality of the flows."""
        return routed_traffic(locality, self.count, break_share)

    def headers(self, state: State) -> Mapping[str, str]:
        """The IPv6 routes as compares, with the numbers of hops that the trie has."""
        hops: dict[Network, int] = {}
        for entry in routes.entries(self.count):
            prefix = entry.prefix
            if prefix.version == 6:
                key = prefix.prefixlen.to_bytes(4, "little") + prefix.network_address.packed
                row = state["routes6"].read(key)
                assert row is not None
                hops[prefix] = int.from_bytes(row.tobytes(), "little")
        return {"handwritten_routes.h": routes.compares(hops)}
