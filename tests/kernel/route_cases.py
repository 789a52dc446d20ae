# SPDX-License-Identifier: GPL-2.0-only
"""A router's namespace full of routes, and what both sides say about them."""

from __future__ import annotations

import random
import time
from ipaddress import ip_network

from iridescent_xdp.functions.router_fib import Change
from iridescent_xdp.functions.router_mirror import RouteFeed, snapshot
from iridescent_xdp.functions.router_tables import Network, Route
from iridescent_xdp.functions.router_verdicts import MirrorRules
from tests.kernel.route_lab import (
    KERNEL,
    RouteLab,
    addresses_near,
    replay,
    table_of,
    told,
)

RULES = MirrorRules(ingress="in0")
MACS = [
    *(f"neigh replace 10.{i}.0.2 lladdr 02:00:00:00:0{i}:02 dev out{i - 1}" for i in (1, 2, 3)),
    *(f"neigh replace 2001:db8:{i}::2 lladdr 02:00:00:00:6{i}:02 dev out{i - 1}" for i in (1, 2)),
    "neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev in0",
]
VARIED = [
    "route add 20.0.0.0/8 via 10.1.0.2",
    "route add 20.1.0.0/16 via 10.2.0.2 metric 5",
    "route add 20.1.0.0/16 via 10.1.0.2 metric 2",
    "route add blackhole 20.2.0.0/16",
    "route add unreachable 20.3.0.0/16",
    "route add prohibit 20.3.128.0/17",
    "route add throw 20.3.192.0/18",
    "route add 20.4.0.0/16 nexthop via 10.1.0.2 nexthop via 10.2.0.2",
    "route add 20.5.0.0/16 via inet6 2001:db8:1::2 dev out0",
    "route add 20.6.0.0/16 via 10.0.0.2",  # back out by the ingress
    "route add 20.7.0.0/16 via 10.1.0.9",  # no such neighbour
    "route add 20.8.0.0/16 via 10.2.0.2 mtu 1280",
    "route add 20.9.0.0/16 via 30.30.30.30 dev out1 onlink",
    "neigh replace 30.30.30.30 lladdr 02:00:00:00:99:02 dev out1",
    "route add 20.10.0.0/16 dev out2",
    "neigh replace 20.10.3.3 lladdr 02:00:00:00:33:03 dev out2",
    "neigh replace 20.10.3.4 lladdr 02:00:00:00:33:04 dev out1",  # on another link
    "route add 20.10.3.5/32 via 10.1.0.2",
    "neigh replace 20.10.3.5 lladdr 02:00:00:00:33:05 dev out2",  # its own route is longer
    "route add local 20.11.0.0/16 dev lo",
    "route add 20.12.0.0/16 nhid 7",
    "route add 20.13.0.0/16 via 10.1.0.2 table 100",
    "route add 20.14.0.0/16 via 10.1.0.2 tos 0x10",
    "route add default via 10.3.0.2",
    "route add blackhole 2001:db8:100::/48",
    "route add 2001:db8:101::/48 via 2001:db8:1::2",
    "route add 2001:db8:102::/48 via 2001:db8:1::2 metric 7",
    "route add 2001:db8:102::/48 via 2001:db8:2::2 metric 9",
    "route add 2001:db8:103::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:2::2",
    "route add unreachable 2001:db8:104::/48",
    "route add default via 2001:db8:2::2",
]


def settle(feed: RouteFeed, table: dict[Network, Route], quiet_s: float = 0.05) -> list[Change]:
    """Follow until nothing comes."""
    seen: list[Change] = []
    while changes := feed.wait(quiet_s):
        replay(table, changes)
        seen += changes
    return seen


def settle_as_snapshot(feed: RouteFeed, table: dict[Network, Route]) -> None:
    """Follow until the table is what a new reading gives; some messages come a second late."""
    end_s = time.monotonic() + 5
    settle(feed, table)
    while table != table_of(snapshot(RULES)):
        assert time.monotonic() < end_s, "the mirror does not become what the kernel has"
        settle(feed, table, quiet_s=0.3)


def assert_same(router: RouteLab, table: dict[Network, Route], seed: int, count: int = 300) -> int:
    """The table against iproute2; how many addresses are not left to the kernel."""
    prefixes = [str(n) for n in (*table, ip_network("20.0.0.0/12")) if n.prefixlen]
    addresses = addresses_near(prefixes, random.Random(seed), count)
    # which of the two the kernel takes depends on the packet: both are right for iproute2
    addresses = [a for a in addresses if not a.startswith("20.14.")]
    expected = router.answers(addresses, ingress=RULES.ingress)
    found = told(table, addresses)
    assert found == expected
    return sum(answer != KERNEL for answer in expected.values())
