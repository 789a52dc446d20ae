# SPDX-License-Identifier: GPL-2.0-only
"""The filter with 64 rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.bench.subject import LOOPBACK, Changes, Egress, Subject
from iridescent_xdp.functions.filter_config import FilterTables
from traffic.mix_shares import Locality
from traffic.mix_stream import Stream

NARROW: Changes = {
    "vlan_depth": 0,
    "no_ip_options": True,
    "no_extensions": True,
    "no_fragments": True,
}


class FilterSubject(Subject):
    """See the module."""

    name = "filter"
    narrow: ClassVar[Changes] = NARROW
    fast: ClassVar[Changes] = {"rule_layout": "tree"}
    live_policy: ClassVar[Mapping[str, int]] = {"default_action": 1}
    quick_fixed = ("counter_batch",)

    def __init__(self, tables: FilterTables | None = None) -> None:
        self._tables = FilterTables(rules=RULES) if tables is None else tables

    def tables(self, egress: Egress = LOOPBACK) -> FilterTables:  # noqa: ARG002
        """The 64 rules, or what it was made with."""
        return self._tables

    def stream(self, locality: Locality, break_share: float = 0.0) -> Stream:
        """Of five packets four match no rule."""
        return edge_traffic(locality, break_share)
