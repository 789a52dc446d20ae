# SPDX-License-Identifier: GPL-2.0-only
"""A mirror of the kernel's routes under bursts, overflow and flapping links; and its limits."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_network

import pytest

from iridescent_xdp.errors import StateError
from iridescent_xdp.functions.router_mirror import Mirror, News, RouteFeed, snapshot
from iridescent_xdp.functions.router_verdicts import MirrorRules
from tests.kernel.route_cases import MACS, RULES, VARIED, assert_same, settle, settle_as_snapshot
from tests.kernel.route_lab import (
    RouteLab,
    replay,
    table_of,
    told,
)
from traffic.testbed import inside


@pytest.fixture
def router() -> Iterator[RouteLab]:
    with RouteLab() as lab:
        lab.batch(["nexthop add id 7 via 10.2.0.2 dev out1", *MACS, *VARIED])
        yield lab


def many_routes(count: int, verb: str = "add", via: str = "10.1.0.2") -> list[str]:
    return [f"route {verb} 30.{i >> 8}.{i & 255}.0/24 via {via}" for i in range(count)]


def wait_for(condition: Callable[[], bool], deadline_s: float = 10) -> None:
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, "it did not come to that in time"
        time.sleep(0.01)


class Follower:
    """What a router does with a mirror: one table, changed by each batch."""

    def __init__(self, mirror: Mirror) -> None:
        self.table = table_of(mirror.tables)
        self.last_s = 0.0
        self.batches: list[int] = []
        self.lock = threading.Lock()
        mirror.follow(self.deliver)

    def deliver(self, changes: Sequence[News]) -> None:
        with self.lock:
            replay(self.table, changes)
            self.batches.append(len(changes))
            self.last_s = time.monotonic()

    def is_as(self, router: RouteLab) -> bool:
        """Whether it has what a new reading gives; link-local addresses come up late."""
        with inside(router.name):
            now = table_of(snapshot(RULES))
        with self.lock:
            return self.table == now

    def holds(self, network: str) -> bool:
        with self.lock:
            return ip_network(network) in self.table


def test_ten_thousand_routes_at_once(router: RouteLab) -> None:
    with inside(router.name):
        mirror = Mirror(RULES)
    with mirror:
        follower = Follower(mirror)
        router.batch(many_routes(10_000))
        sent_s = time.monotonic()
        wait_for(lambda: follower.holds("30.39.15.0/24"))
        assert follower.last_s - sent_s < 2
        assert len(follower.batches) < 500  # coalesced
        assert mirror.check().overflows == 0
        assert_same(router, follower.table, seed=3)
        router.batch(["link set out0 down"])  # takes them all away without a message for each
        wait_for(lambda: not follower.holds("30.39.15.0/24"))
        with inside(router.name):
            assert ip_network("30.39.15.0/24") not in table_of(snapshot(RULES))
        wait_for(lambda: follower.is_as(router))


def test_an_overflow_is_mended(router: RouteLab) -> None:
    with inside(router.name), RouteFeed(RULES, receive_bytes=4_096) as feed:
        table = table_of(feed.tables)
        router.batch(many_routes(3_000))  # nobody reads meanwhile
        router.batch(many_routes(1_000, "del"))
        settle_as_snapshot(feed, table)
        assert feed.counts.overflows > 0
        assert feed.counts.last_reason == "more messages came than the socket holds"
        assert_same(router, table, seed=4)


def test_a_thousand_changes_a_second_are_kept_up_with(router: RouteLab) -> None:
    seconds, rate = 3, 1_000
    with inside(router.name):
        mirror = Mirror(RULES)
    with mirror:
        follower = Follower(mirror)
        command = ["ip", "-force", "-n", router.name, "-batch", "-"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as ip:
            assert ip.stdin is not None
            began_s = time.monotonic()
            for tick in range(seconds * 100):
                vias = ("10.1.0.2", "10.2.0.2")
                changes = many_routes(rate // 100, "replace", vias[tick % 2])
                ip.stdin.write("".join(f"{change}\n" for change in changes))
                ip.stdin.flush()
                time.sleep(max(0.0, began_s + (tick + 1) / 100 - time.monotonic()))
            ip.stdin.write("route add 31.0.0.0/24 via 10.1.0.2\n")
        sent_s = time.monotonic()
        wait_for(lambda: follower.holds("31.0.0.0/24"))
        counts = mirror.check()
        assert counts.messages >= seconds * rate
        assert counts.overflows == 0
        assert counts.whole_reads == 1
        assert follower.last_s - sent_s < 0.1
        assert sent_s - began_s < 1.5 * seconds  # the rate was what it was meant to be
        assert_same(router, follower.table, seed=6)


def test_a_flapping_link(router: RouteLab) -> None:
    with inside(router.name):
        mirror = Mirror(RULES)
    with mirror:
        follower = Follower(mirror)
        router.batch(many_routes(500))
        again = [*many_routes(500, via="10.1.0.2"), "route add 20.0.0.0/8 via 10.1.0.2"]
        for _ in range(10):
            router.batch(["link set out0 down", "link set out0 up", *again])
        wait_for(lambda: follower.is_as(router))
        time.sleep(0.5)  # a late message would show
        wait_for(lambda: follower.is_as(router))
        assert mirror.check().overflows == 0
        assert_same(router, follower.table, seed=7)


def test_interfaces_without_room_are_left_to_the_kernel(router: RouteLab) -> None:
    with inside(router.name), RouteFeed(MirrorRules(ingress="in0", ports=1)) as feed:
        table = table_of(feed.tables)
        used = {route.interface for route in table.values() if route.kind == "forward"}
        assert len(used) == 1
        assert "no room" in feed.fib.left_to_kernel()[0]
        router.batch([f"link set {link} down" for link in used])
        settle(feed, table, quiet_s=0.3)
        other = {route.interface for route in table.values() if route.kind == "forward"}
        assert len(other) == 1 and other != used


def test_by_the_ingress_if_that_is_wanted(router: RouteLab) -> None:
    with inside(router.name):
        table = table_of(snapshot(MirrorRules(ingress="in0", hairpin=True)))
    assert told(table, ["20.6.0.1"])["20.6.0.1"][:3] == ("forward", "in0", "02:00:00:00:00:02")


def test_a_mirror_whose_changes_are_refused_says_so(router: RouteLab) -> None:
    def refuse(changes: Sequence[News]) -> None:
        raise StateError("no room for routes")

    with inside(router.name):
        mirror = Mirror(RULES)
    with mirror:
        mirror.follow(refuse)
        router.batch(["route add 31.0.0.0/24 via 10.1.0.2"])
        wait_for(lambda: mirror._error is not None)
        with pytest.raises(StateError, match=r"not followed any more: no room for routes"):
            mirror.check()
