# SPDX-License-Identifier: GPL-2.0-only
"""The mirror's core: what changes when the kernel says something new, and what has no room."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.router_messages import (
    LOCAL,
    TABLE_LOCAL,
    Leg,
    NextHopObject,
    OwnAddress,
    Rule,
    Transmit,
)
from iridescent_xdp.functions.router_verdicts import MirrorRules
from tests.unit.kernel_messages import (
    MAC,
    P6,
    START,
    VIA1,
    VIA2,
    VIA6,
    P,
    address,
    after,
    deletes,
    entry,
    fib_of,
    kernel,
    link,
    neighbour,
    routes,
    sets,
    to,
)


def test_changes_of_routes() -> None:
    fib = fib_of(entry(P, VIA1))
    assert after(fib) == []
    assert after(fib, entry(P, VIA1)) == []  # told twice
    assert after(fib, entry(P, VIA2, replace=True)) == sets(to(P, "eth2", MAC[2]))
    assert after(fib, entry(P, VIA1, metric=9)) == []  # a worse one
    assert after(fib, entry(P, VIA2, gone=True)) == sets(to(P, "eth1", MAC[1]))
    assert after(fib, entry(P, VIA1, metric=9, gone=True)) == deletes(P)
    assert after(fib, entry(P, VIA1), entry(P, VIA1, gone=True)) == []
    assert not fib.doubt


def test_legs_of_ipv6_come_and_go_one_by_one() -> None:
    other = (1, "2001:db8::1")
    fib = fib_of(neighbour(1, "2001:db8::1", MAC[1]), entry(P6, VIA6))
    assert after(fib, entry(P6, other, VIA6)) == sets(kernel(P6))
    assert after(fib, entry(P6, VIA6, gone=True)) == sets(to(P6, "eth1", MAC[1]))
    assert after(fib, entry(P6, other, gone=True)) == deletes(P6)


def test_changes_of_neighbours() -> None:
    fib = fib_of(entry(P, VIA1), entry("10.1.0.0/24", (1, "")))
    host = "10.1.0.2/32"
    assert after(fib, neighbour(1, "10.1.0.2", None)) == [*sets(to(P, "eth1")), *deletes(host)]
    assert after(fib, neighbour(1, "10.1.0.2", MAC[3])) == sets(
        to(P, "eth1", MAC[3]), to(host, "eth1", MAC[3])
    )
    assert after(fib, neighbour(1, "10.1.0.2", MAC[3])) == []  # confirmed, that is all


def test_a_host_goes_with_the_prefix_of_its_link() -> None:
    fib = fib_of(entry("10.1.0.0/24", (1, "")))
    assert after(fib, entry("10.1.0.0/24", (1, ""), gone=True)) == deletes(
        "10.1.0.0/24", "10.1.0.2/32"
    )
    assert after(fib, entry("10.0.0.0/8", (1, ""))) == sets(
        to("10.0.0.0/8", "eth1"), to("10.1.0.2/32", "eth1", MAC[1])
    )
    assert after(fib, entry("10.1.0.0/25", VIA2)) == [
        *sets(to("10.1.0.0/25", "eth2", MAC[2])), *deletes("10.1.0.2/32")
    ]  # fmt: skip


def test_a_link_down_takes_ipv4_routes_without_a_message() -> None:
    fib = fib_of(
        entry(P, VIA1),
        entry("20.1.0.0/16", VIA1, VIA2),
        entry("20.2.0.0/16", VIA1),
        entry("20.2.0.0/16", VIA2, metric=7),
        entry("10.1.0.1/32", (1, ""), kind=LOCAL, table=TABLE_LOCAL),
        entry(P6, (1, "2001:db8::1")),
    )
    assert set(after(fib, link(1, up=False))) == {
        *deletes(P),
        *sets(to("20.2.0.0/16", "eth2", MAC[2]), kernel(P6)),
    }
    assert "went down" in fib.doubt
    assert after(fib, link(1)) == sets(to(P6, "eth1"))  # IPv4 routes do not come back
    assert kernel("10.1.0.1/32") in routes(fib)
    # the last of two links
    assert after(fib, link(1, up=False), link(2, up=False))[-1:] != []
    assert ip_network("20.1.0.0/16") not in {route.prefix for route in routes(fib)}


def test_a_lost_carrier_takes_nothing_away() -> None:
    fib = fib_of(entry(P, VIA1))
    assert after(fib, link(1, carrier=False)) == sets(kernel(P))
    assert after(fib, link(1)) == sets(to(P, "eth1", MAC[1]))
    assert after(fib, link(1, carrier=False), link(1)) == []  # flapped between two calls


def test_a_link_that_cannot_send_is_left_to_the_kernel() -> None:
    fib = fib_of(entry(P, VIA1))
    assert after(fib, Transmit(1, able=False), Transmit(2, able=False)) == sets(kernel(P))
    assert after(fib, Transmit(1, able=True)) == sets(to(P, "eth1", MAC[1]))
    unchecked = fib_of(
        entry(P, VIA1), Transmit(1, able=False), rules=MirrorRules(check_transmit=False)
    )
    assert routes(unchecked) == [to(P, "eth1", MAC[1])]


def test_a_changed_link_renews_its_routes() -> None:
    fib = fib_of(entry(P, VIA1), entry("20.1.0.0/16", VIA2))
    assert after(fib, link(1, mtu=1400)) == sets(to(P, "eth1", MAC[1], mtu=1400))
    renamed = link(1)._replace(name="wan")
    assert after(fib, renamed) == sets(to(P, "wan", MAC[1]))
    assert after(fib, renamed._replace(gone=True)) == deletes(P)


def test_addresses_that_go_take_ipv4_routes_with_them() -> None:
    own = entry("10.1.0.1/32", (1, ""), kind=LOCAL, table=TABLE_LOCAL)
    fib = fib_of(
        own,
        OwnAddress(1, b"first", False),
        OwnAddress(1, b"second", False),
        entry(P, VIA1, source="10.1.0.1"),
        entry("20.1.0.0/16", VIA1),
    )
    assert after(fib, own._replace(gone=True)) == deletes("10.1.0.1/32", P)
    assert after(fib, OwnAddress(1, b"first", True)) == []
    assert after(fib, OwnAddress(1, b"second", True)) == deletes("20.1.0.0/16")
    assert "last address" in fib.doubt


def test_a_next_hop_object_that_goes_takes_its_routes() -> None:
    one = NextHopObject(7, Leg(1, address("10.1.0.2")), False)
    fib = fib_of(one, entry(P, next_hop=7))
    assert after(fib, one._replace(leg=Leg(2, address("10.2.0.2")))) == sets(to(P, "eth2", MAC[2]))
    assert after(fib, link(2, carrier=False)) == deletes(P)
    assert fib.doubt


def test_rules_of_its_own_leave_a_family_to_the_kernel() -> None:
    fib = fib_of(entry(P, VIA1), entry(P6, VIA6))
    plain = [Rule(4, 0, b"l", True, False), Rule(4, 32766, b"m", True, False)]
    assert after(fib, *plain) == []
    special = Rule(4, 100, b"x", False, False)
    assert after(fib, special) == deletes(P)
    assert after(fib, entry("20.1.0.0/16", VIA1)) == []
    assert fib.left_to_kernel()[0].startswith("IPv4 has policy rules of its own")
    assert set(after(fib, special._replace(gone=True))) == {
        *sets(to(P, "eth1", MAC[1]), to("20.1.0.0/16", "eth1", MAC[1]))
    }
    assert after(fib, plain[1]._replace(gone=True)) != []  # without the rule for "main"
    assert [r.prefix.version for r in routes(fib)] == [6]


def test_the_order_is_that_of_the_last_change() -> None:
    fib = fib_of()
    told = (entry(P, VIA1), entry("20.1.0.0/16", VIA1), entry(P, VIA2, replace=True))
    assert after(fib, *told) == sets(to("20.1.0.0/16", "eth1", MAC[1]), to(P, "eth2", MAC[2]))


def test_doubt_when_messages_do_not_fit() -> None:
    fib = fib_of(entry(P, VIA1), entry(P, VIA2))
    after(fib, entry(P, (3, "10.3.0.2"), replace=True))
    assert "equal routes" in fib.doubt
    fib = fib_of(entry(P, VIA1))
    after(fib, entry(P, VIA2, gone=True))
    assert "not known" in fib.doubt
    fib.start_over((*START, entry(P, VIA1)))
    assert not fib.doubt
    assert fib.changes() == []


# -- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [MirrorRules(hops=1), MirrorRules(ports=1)])
def test_what_has_no_room_goes_to_the_kernel_and_comes_back(rules: MirrorRules) -> None:
    fib = fib_of(entry(P, VIA1), entry("20.1.0.0/16", VIA2), rules=rules)
    assert routes(fib) == [to(P, "eth1", MAC[1]), kernel("20.1.0.0/16")]
    assert fib.left_to_kernel() == ["1 routes have no room for their next hop"]
    changes = after(fib, entry(P, VIA1, gone=True))
    assert changes == [*deletes(P), *sets(to("20.1.0.0/16", "eth2", MAC[2]))]
    assert fib.left_to_kernel() == []


def test_too_many_routes_leave_everything_to_the_kernel() -> None:
    """A part of the routes would be worse than none: longer prefixes would be missing."""
    prefixes = [f"20.{i}.0.0/16" for i in range(20)]
    fib = fib_of(*(entry(p, VIA1) for p in prefixes[:10]), rules=MirrorRules(routes=13))
    assert len(routes(fib)) == 10
    assert set(after(fib, entry(prefixes[10], VIA1))) == set(deletes(*prefixes[:10]))
    assert "more than 13 routes" in fib.left_to_kernel()[0]
    assert after(fib, *(entry(p, VIA1, gone=True) for p in prefixes[1:11])) == sets(
        to(prefixes[0], "eth1", MAC[1])
    )


def test_limits_are_checked() -> None:
    with pytest.raises(ConfigError, match="ports must be at least 1, got 0"):
        MirrorRules(ports=0)
