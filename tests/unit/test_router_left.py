# SPDX-License-Identifier: GPL-2.0-only
"""What the mirror leaves to a kernel that would forward it: told while it is so, and no longer."""

from __future__ import annotations

import pytest

from iridescent_xdp.functions.router_fib import Fib
from iridescent_xdp.functions.router_messages import (
    LOCAL,
    TABLE_DEFAULT,
    TABLE_LOCAL,
    Entry,
    Leg,
    Message,
    NextHopObject,
    Rule,
)
from iridescent_xdp.functions.router_verdicts import is_martian
from tests.unit.kernel_messages import (
    MAC,
    P6,
    VIA1,
    VIA2,
    VIA6,
    P,
    after,
    deletes,
    entry,
    fib_of,
    kernel,
    key,
    neighbour,
    routes,
    sets,
    to,
)

UNREACHABLE, PROHIBIT = 7, 8
Q = "20.1.0.0/16"


def gone(message: Entry) -> Entry:
    return message._replace(gone=True)


CASES: dict[str, tuple[Entry, ...]] = {
    f"1 prefixes with several next hops, such as {P}, go to the kernel": (entry(P, VIA1, VIA2),),
    f"1 prefixes with several next hops, such as {P6}, go to the kernel": (
        entry(P6, VIA6, (1, "2001:db8::1")),
    ),
    f"1 prefixes with several next hops, such as {Q}, go to the kernel": (
        entry(Q, VIA1),
        entry(Q, VIA2),
    ),
    f"1 prefixes with a route for a TOS or a source prefix, such as {P}, go to the kernel": (
        entry(P, VIA1, selector=b"\x10\0"),
    ),
    f"1 prefixes inside a local prefix, such as {P}, go to the kernel": (
        entry(P, VIA1),
        entry("20.0.0.0/12", (1, ""), kind=LOCAL, table=TABLE_LOCAL),
    ),
    "IPv4 has routes in table 253 (default), which is not mirrored": (
        entry(P, VIA1, table=TABLE_DEFAULT),
    ),
}


@pytest.mark.parametrize("told", CASES)
def test_it_is_told_as_long_as_it_is_so(told: str) -> None:
    fib = fib_of()
    assert fib.left_to_kernel() == []
    after(fib, *CASES[told])
    assert fib.left_to_kernel() == [told] == list(fib.tables().left)
    assert fib_of(*CASES[told]).left_to_kernel() == [told]  # read as a whole
    after(fib, *map(gone, reversed(CASES[told])))
    assert fib.left_to_kernel() == [] and routes(fib) == []


def test_it_is_told_once_for_many() -> None:
    fib = fib_of(*(entry(f"20.{n}.0.0/16", VIA1, VIA2) for n in range(1200)[:200]))
    assert fib.left_to_kernel() == [
        "200 prefixes with several next hops, such as 20.0.0.0/16, go to the kernel"
    ]
    assert after(fib, entry("20.0.0.0/16", VIA1, VIA2, gone=True)) == deletes("20.0.0.0/16")
    assert after(fib, entry("20.1.0.0/16", VIA1, VIA2, gone=True)) == deletes("20.1.0.0/16")
    assert "198 prefixes" in fib.left_to_kernel()[0] and "20.2.0.0/16" in fib.left_to_kernel()[0]


def test_from_one_reason_to_another_no_route_changes() -> None:
    fib = fib_of(entry(P, VIA1, VIA2))
    assert routes(fib) == [kernel(P)]
    assert after(fib, entry(P, kind=UNREACHABLE, replace=True)) == []
    assert fib.left_to_kernel() == []
    assert after(fib, entry(P, VIA1, replace=True)) == sets(to(P, "eth1", MAC[1]))


@pytest.mark.parametrize(
    "surely",
    [
        (entry(P, kind=UNREACHABLE),),
        (entry(P, kind=PROHIBIT),),
        (entry(P, VIA1, encapsulated=True),),  # the kernel's look-up refuses it
        (entry(P, VIA1), entry(P, (1, ""), kind=LOCAL, table=TABLE_LOCAL)),
        (entry("fe80::/64", (1, "")), entry("fe80::/64", (2, ""))),  # never looked up
        (entry("224.0.0.0/4", VIA1, VIA2),),
    ],
)
def test_what_the_kernel_does_not_just_forward_is_no_reason(surely: tuple[Entry, ...]) -> None:
    assert fib_of(*surely).left_to_kernel() == []


def test_a_next_hop_object_that_is_a_group() -> None:
    group, single = NextHopObject(7, None, False), NextHopObject(7, Leg(1, VIA_OF[0]), False)
    fib = fib_of(group, entry(P, next_hop=7))
    assert "several next hops" in fib.left_to_kernel()[0]
    assert after(fib, single) == sets(to(P, "eth1", MAC[1]))
    assert fib.left_to_kernel() == []


VIA_OF = entry(P, VIA1).legs[0].via, entry(P, VIA2).legs[0].via


def vrf_rule(version: int) -> Rule:
    return Rule(version, 1000, b"l3mdev", True, False)


@pytest.mark.parametrize("version", [4, 6])
def test_vrfs(version: int) -> None:
    usual = [Rule(version, p, b"", True, False) for p in (0, 32766)]
    fib = fib_of(*usual, vrf_rule(version))
    assert fib.left_to_kernel() == ["there are VRFs, whose tables are not mirrored"]
    after(fib, vrf_rule(version)._replace(gone=True))
    assert fib.left_to_kernel() == []


def test_a_neighbour_that_only_the_kernel_sends_to() -> None:
    """The kernel's answer would be the MAC address of a hop that the mirror has."""

    def silent(text: str, mac: bytes) -> Message:
        return neighbour(1, text, None)._replace(silent=mac)

    fib: Fib = fib_of(silent("10.1.0.8", MAC[3]))
    assert fib.left_to_kernel() == []
    after(fib, silent("10.1.0.9", MAC[1]))  # that of 10.1.0.2
    assert fib.left_to_kernel() == [
        "a neighbour in state noarp has the address 02:00:00:00:00:01, too"
    ]
    after(fib, neighbour(1, "10.1.0.9", MAC[1]))
    assert fib.left_to_kernel() == []


def test_martians() -> None:
    inside = ["0.0.0.0/8", "127.1.0.0/16", "224.0.0.0/3", "255.255.255.255/32", "fe80::/10"]
    inside += ["ff02::/16", "febf::1/128"]
    outside = ["0.0.0.0/0", "1.0.0.0/8", "126.0.0.0/7", "128.0.0.0/1", "192.0.0.0/3", "fec0::/10"]
    outside += ["::/0", "fe00::/9", "2000::/3"]
    assert all(is_martian(key(text)) for text in inside)
    assert not any(is_martian(key(text)) for text in outside)
