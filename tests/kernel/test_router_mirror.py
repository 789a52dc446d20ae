# SPDX-License-Identifier: GPL-2.0-only
"""A mirror of the kernel's routes against iproute2, which is asked where packets go."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest

from iridescent_xdp.functions.router_mirror import RouteFeed, snapshot
from iridescent_xdp.functions.router_tables import SetRoute
from iridescent_xdp.functions.router_verdicts import MirrorRules
from tests.kernel.route_cases import MACS, RULES, VARIED, assert_same, settle, settle_as_snapshot
from tests.kernel.route_lab import (
    KERNEL,
    RouteLab,
    table_of,
    told,
)
from traffic.testbed import inside


@pytest.fixture
def router() -> Iterator[RouteLab]:
    with RouteLab() as lab:
        lab.batch(["nexthop add id 7 via 10.2.0.2 dev out1", *MACS, *VARIED])
        yield lab


@pytest.fixture
def feed(router: RouteLab) -> Iterator[RouteFeed]:
    with inside(router.name), RouteFeed(RULES) as made:
        yield made


def test_snapshot_is_what_the_kernel_does(router: RouteLab) -> None:
    with inside(router.name):
        table = table_of(snapshot(RULES))
    assert sum(assert_same(router, table, seed) for seed in (1, 2)) > 150


def test_cases_one_by_one(router: RouteLab) -> None:
    with inside(router.name):
        table = table_of(snapshot(RULES))
    expected = {
        "20.0.0.1": ("forward", "out0", "02:00:00:00:01:02"),
        "20.1.0.1": ("forward", "out0", "02:00:00:00:01:02"),  # the lower metric
        "20.2.0.1": ("drop",),
        "20.5.0.1": ("forward", "out0", "02:00:00:00:61:02"),  # the neighbour is an IPv6 one
        "20.8.0.1": ("forward", "out1", "02:00:00:00:02:02"),
        "20.9.0.1": ("forward", "out1", "02:00:00:00:99:02"),  # onlink
        "20.10.3.3": ("forward", "out2", "02:00:00:00:33:03"),
        "20.10.3.5": ("forward", "out0", "02:00:00:00:01:02"),
        "20.12.0.1": ("forward", "out1", "02:00:00:00:02:02"),  # a next-hop object
        "20.13.0.1": ("forward", "out0", "02:00:00:00:01:02"),  # table 100 is not asked: 20/8
        "20.14.0.1": KERNEL,  # depends on the packet's TOS
        "99.0.0.1": ("forward", "out2", "02:00:00:00:03:02"),  # the default route
        "2001:db8:100::1": ("drop",),
        "2001:db8:102::1": ("forward", "out0", "02:00:00:00:61:02"),
        **dict.fromkeys(("20.3.0.1", "20.3.128.1", "20.3.192.1", "20.4.0.1", "20.6.0.1"), KERNEL),
        **dict.fromkeys(("20.7.0.1", "20.10.3.4", "20.11.0.1", "10.1.0.1"), KERNEL),
        **dict.fromkeys(("2001:db8:103::1", "2001:db8:104::1", "10.1.0.255"), KERNEL),
    }
    found = {address: answer[:3] for address, answer in told(table, expected).items()}
    assert found == expected


STEPS: dict[str, Sequence[str]] = {
    "neighbour": ["neigh replace 10.1.0.2 lladdr 02:00:00:00:ff:01 dev out0"],
    "neighbour failed": ["neigh replace 10.1.0.2 dev out0 nud failed"],
    "neighbour gone": ["neigh del 10.1.0.2 dev out0"],
    "neighbour learned": ["neigh add 10.1.0.9 lladdr 02:00:00:00:01:09 dev out0 nud stale"],
    "host": ["neigh replace 10.3.0.77 lladdr 02:00:00:00:03:77 dev out2 nud reachable"],
    "replace": ["route replace 20.0.0.0/8 via 10.2.0.2", "route replace blackhole 20.5.0.0/16"],
    "append": [
        "route append 20.0.0.0/8 via 10.2.0.2",
        "route append 20.0.0.0/8 via 10.3.0.2",
        "route replace 20.0.0.0/8 via 10.1.0.9",
        "route del 20.0.0.0/8 via 10.2.0.2",
    ],
    "metric": ["route add 20.0.0.0/8 via 10.2.0.2 metric 10", "route del 20.0.0.0/8 metric 0"],
    "better": ["route add 20.7.0.0/16 via 10.3.0.2 metric 1", "route del 20.7.0.0/16 metric 0"],
    "delete": ["route del 20.10.0.0/16", "route del 2001:db8:101::/48", "route del default"],
    "IPv6 legs": [
        "route append 2001:db8:101::/48 via 2001:db8:2::2",
        "route del 2001:db8:101::/48 via 2001:db8:1::2",
        "route del 2001:db8:103::/48 via 2001:db8:2::2",
        "route replace 2001:db8:102::/48 via 2001:db8:2::2 metric 7",
    ],
    "link down": ["link set out0 down"],
    "down and up": ["link set out1 down", "link set out1 up"],
    "deleted": ["link del out2"],
    "renamed": ["link set out2 down", "link set out2 name other2", "link set out2 up"],
    "MTU": ["link set out0 mtu 1300"],
    "MAC": ["link set out0 address 02:aa:aa:aa:aa:aa"],
    "address gone": ["addr del 10.2.0.1/24 dev out1"],
    "address comes": ["addr add 20.0.0.5/16 dev out1", "addr add 2001:db8:101::5/64 dev out1"],
    "source gone": [
        "addr add 10.1.0.66/32 dev out0",
        "route add 20.66.0.0/16 via 10.1.0.2 src 10.1.0.66",
        "addr del 10.1.0.66/32 dev out0",
    ],
    "object replaced": ["nexthop replace id 7 via 10.1.0.2 dev out0"],
    "object gone": ["nexthop del id 7"],
    "local prefix gone": ["route del local 20.11.0.0/16 dev lo table local"],
    "local prefix over routes": ["route add local 20.0.0.0/9 dev lo"],
}


@pytest.mark.parametrize("name", STEPS)
def test_each_change_is_followed_alone(
    router: RouteLab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without looking at the whole state again, so that the messages alone must do."""
    with inside(router.name), RouteFeed(RULES) as feed:
        monkeypatch.setattr(feed, "_next_whole_s", float("inf"))
        table = table_of(feed.tables)
        router.batch(STEPS[name], ok=name != "renamed")
        settle_as_snapshot(feed, table)
        assert feed.counts.whole_reads == 1
        if name != "local prefix over routes":  # the kernel's two families differ in it
            assert_same(router, table, seed=len(name))


def test_rules_of_its_own_leave_a_family_to_the_kernel(router: RouteLab, feed: RouteFeed) -> None:
    table = table_of(feed.tables)
    router.batch(["rule add from 1.2.3.4 table 100"])
    settle(feed, table)
    assert not [network for network in table if network.version == 4]
    assert "IPv4 has policy rules" in feed.fib.left_to_kernel()[0]
    assert [network for network in table if network.version == 6]
    router.batch(["rule del from 1.2.3.4 table 100"])
    settle(feed, table)
    assert table == table_of(snapshot(RULES))
    assert_same(router, table, seed=5)


def test_a_changed_link_renews_the_routes_over_it(router: RouteLab, feed: RouteFeed) -> None:
    table = table_of(feed.tables)
    router.batch(["link set out0 mtu 1400"])
    renewed = {c.route.prefix for c in settle(feed, table) if isinstance(c, SetRoute)}
    over = {route.prefix for route in table.values() if route.interface == "out0"}
    assert over and over <= renewed


def test_a_carrier_that_goes_and_comes(router: RouteLab, feed: RouteFeed) -> None:
    table = table_of(feed.tables)
    before = dict(table)
    for state in ("down", "up"):
        router.run("ip", "-n", router.far, "link", "set", "far-out0", state)
        settle_as_snapshot(feed, table)  # tells of a lost carrier up to a second late
        assert_same(router, table, seed=11)
        assert any(r.interface == "out0" for r in table.values()) == (state == "up")
    for one in (before, table):  # those of link-local addresses come late
        for network in [n for n in one if n.is_link_local]:
            del one[network]
    assert table == before


def random_steps(chance: random.Random, count: int) -> Iterator[str]:
    """Commands of which some fail, as they must."""
    for _ in range(count):
        link, low = chance.randrange(3), chance.randrange(1, 5)
        via = f"10.{link + 1}.0.{low}"
        prefix = (
            f"20.{chance.choice((0, 1, 2, 3, 5, 7, 10, 12, 15))}.{chance.choice((0, 64, 128))}.0"
        )
        prefix += f"/{chance.choice((18, 24, 32))}"
        via6, prefix6 = f"2001:db8:{link + 1}::{low}", f"2001:db8:1{chance.randrange(8):02}::/48"
        verb = chance.choice(("add", "append", "replace", "replace", "del"))
        metric = chance.choice(("", " metric 3", " metric 9"))
        yield chance.choice(
            (
                f"route {verb} {prefix} via {via}{metric}",
                f"route {verb} {prefix} via {via}{metric}",
                f"route {verb} {prefix6} via {via6} metric {chance.choice((3, 9))}",
                f"route del {prefix}",
                f"route del {prefix6}",
                f"route {verb} blackhole {prefix}{metric}",
                f"route {verb} {prefix} dev out{link}",
                f"neigh replace {via} lladdr 02:00:00:00:{link:02}:0{low} dev out{link}",
                f"neigh replace {via6} lladdr 02:00:00:00:6{link}:0{low} dev out{link} nud stale",
                f"neigh replace {via} dev out{link} nud failed",
                f"neigh del {via6} dev out{link}",
                f"link set out{link} {chance.choice(('up', 'up', 'down'))}",
                f"addr {chance.choice(('add', 'del'))} 20.{low}.0.9/24 dev out{link}",
                f"link set out{link} mtu {chance.choice((1400, 1500))}",
            )
        )


@pytest.mark.parametrize("seed", range(4))
def test_random_changes(router: RouteLab, feed: RouteFeed, seed: int) -> None:
    chance = random.Random(seed)
    table = table_of(feed.tables)
    for part in range(5):
        router.batch(random_steps(chance, 80), ok=False)
        settle_as_snapshot(feed, table)
        while feed.fib.doubt:  # a look at the whole state finds nothing else
            settle(feed, table, quiet_s=0.1)
        assert_same(router, table, seed=100 * seed + part, count=200)


def test_a_link_that_cannot_send_is_left_to_the_kernel(router: RouteLab, feed: RouteFeed) -> None:
    """A redirect to it would lose every packet."""
    table = table_of(feed.tables)
    before = dict(table)
    router.receive_offload("far-out0", on=False)
    settle(feed, table)
    assert not [route for route in table.values() if route.interface == "out0"]
    assert table == table_of(snapshot(RULES))
    anyway = table_of(snapshot(MirrorRules(ingress="in0", check_transmit=False)))
    assert anyway == before
    router.receive_offload("far-out0", on=True)
    settle(feed, table)
    assert table == before
    router.batch(["link add br0 type bridge", "link set br0 up", "addr add 10.9.0.1/24 dev br0"])
    router.batch(["neigh add 10.9.0.2 lladdr 02:00:00:00:09:02 dev br0"])
    settle_as_snapshot(feed, table)
    assert told(table, ["10.9.0.2"]) == {"10.9.0.2": KERNEL}
