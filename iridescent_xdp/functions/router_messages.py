# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel says over rtnetlink about routes, neighbours and links, as small values.

Only what a router needs is read, with ``struct``: some 5 µs for a route, a tenth of what a full
decoding takes, so that a table of 100,000 routes is read in a second. Sources of the numbers:
<linux/rtnetlink.h>, <linux/neighbour.h>, <linux/if_link.h>, <linux/fib_rules.h>,
<linux/nexthop.h>. Pure: bytes in, values out.
"""

from __future__ import annotations

from collections.abc import Iterator
from socket import AF_INET, AF_INET6, AF_UNSPEC
from struct import Struct
from typing import NamedTuple

from pyroute2.netlink import rtnl

from iridescent_xdp.kernel.rtnetlink import Attributes, attributes, headers

RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106
NLM_F_REPLACE = 0x100
TABLE_DEFAULT, TABLE_MAIN, TABLE_LOCAL = 253, 254, 255
# RTN_UNICAST, RTN_LOCAL, RTN_BLACKHOLE
UNICAST, LOCAL, BLACKHOLE = 1, 2, 6
_CLONED = 0x200  # RTM_F_CLONED: a cached look-up, not a route
_UP = 0x1 | 0x40 | 0x10000  # IFF_UP, IFF_RUNNING, IFF_LOWER_UP
_ETHERNET = 1  # ARPHRD_ETHER
_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # reachable, stale, delay, probe, permanent
_NOARP = 0x40
_PROXY = 0x08  # NTF_PROXY
_VERSIONS: dict[int, int] = {AF_INET: 4, AF_INET6: 6}
# priority and table of the rules that every system starts with
_STANDARD_RULES = frozenset({(0, TABLE_LOCAL), (32766, TABLE_MAIN), (32767, TABLE_DEFAULT)})
_RULE_ATTRIBUTES = frozenset({6, 14, 15, 21})  # priority, no suppression, table, protocol
_L3MDEV = 19

_ROUTE, _LEG, _NEIGHBOUR = Struct("=8BI"), Struct("=HBBi"), Struct("=BxxxiHBB")
_LINK, _OWN, _NEXT_HOP = Struct("=BxHiII"), Struct("=4BI"), Struct("=4BI")
_U32 = Struct("=I")

Address = tuple[int, int]  # version, number
Key = tuple[int, int, int]  # version, number, prefix length


class Leg(NamedTuple):
    """One next hop of a route: an interface, and a neighbour unless the route is on-link."""

    ifindex: int
    via: Address | None


class Entry(NamedTuple):
    """One route of the main or local table, or of IPv4's default table, which comes after them;
    ``replace``: instead of the one in its place."""

    key: Key
    table: int
    metric: int
    selector: bytes  # TOS and source prefix; empty: all packets
    kind: int
    legs: tuple[Leg, ...]
    next_hop: int  # id of a next-hop object, 0: none
    encapsulated: bool
    mtu: int  # bytes, 0: the interface's
    source: int | None  # the preferred source address
    gone: bool
    replace: bool


class Link(NamedTuple):
    """An interface; ``running`` means that it can send, ``admin_up`` that it is meant to."""

    ifindex: int
    name: str
    mac: bytes
    mtu: int
    mtu6: int  # bytes, 0: not told
    admin_up: bool
    running: bool
    ethernet: bool
    gone: bool


class Mtu6(NamedTuple):
    """The IPv6 MTU of an interface, in bytes."""

    ifindex: int
    mtu: int


class Transmit(NamedTuple):
    """Whether an interface can send what XDP redirects to it; not of rtnetlink."""

    ifindex: int
    able: bool


class OwnAddress(NamedTuple):
    """An IPv4 address of this host, with its prefix; which one is told by the raw bytes."""

    ifindex: int
    address: bytes
    gone: bool


class Neighbour(NamedTuple):
    """A neighbour; ``mac`` is None when packets cannot be sent to it now. ``silent`` is the MAC
    address of one in state noarp, which only the kernel sends to."""

    ifindex: int
    address: Address
    mac: bytes | None
    silent: bytes | None = None


class NextHopObject(NamedTuple):
    """A next-hop object; ``leg`` is None for groups and others that are left to the kernel."""

    id: int
    leg: Leg | None
    gone: bool


class Rule(NamedTuple):
    """A policy rule; ``standard``: one of those that every system has, or of VRFs only."""

    version: int
    priority: int
    raw: bytes
    standard: bool
    gone: bool


Message = Entry | Link | Mtu6 | Transmit | OwnAddress | Neighbour | NextHopObject | Rule


def messages(datagram: bytes) -> Iterator[Message]:
    """What ``datagram`` says, in order; kinds of messages that a router does not need are left
    out."""
    for kind, flags, body in headers(datagram):
        reader = _READERS.get(kind)
        if reader is not None:
            read, size, gone = reader
            message = read(body, gone, flags) if len(body) >= size else None
            if message is not None:
                yield message


def _u32(raw: bytes | None) -> int:
    return int(_U32.unpack_from(raw)[0]) if raw is not None and len(raw) >= 4 else 0


def _address(version: int, raw: bytes | None) -> int:
    size = 4 if version == 4 else 16
    return int.from_bytes(raw[:size], "big") if raw is not None else 0


def _via(version: int, found: Attributes) -> Address | None:
    """RTA_GATEWAY, or RTA_VIA: a neighbour of the other family."""
    if 5 in found:
        return version, _address(version, found[5])
    if 18 in found and len(found[18]) >= 6:
        other = _VERSIONS.get(int.from_bytes(found[18][:2], "little"), 0)
        return other, _address(other, found[18][2:])
    return None


def _legs(version: int, found: Attributes) -> tuple[tuple[Leg, ...], bool]:
    """The next hops, and whether one of them encapsulates (RTA_ENCAP)."""
    if 9 not in found:
        legs = (Leg(_u32(found[4]), _via(version, found)),) if 4 in found else ()
        return legs, 22 in found
    several, at, raw, encapsulated = [], 0, found[9], False
    while at + _LEG.size <= len(raw):
        size, _, _, ifindex = _LEG.unpack_from(raw, at)
        if size < _LEG.size:
            break
        inner = attributes(raw[at : at + size], _LEG.size)
        several.append(Leg(ifindex, _via(version, inner)))
        encapsulated = encapsulated or 22 in inner
        at += (size + 3) & ~3
    return tuple(several), encapsulated


def _entry(body: bytes, gone: bool, flags: int) -> Entry | None:
    family, length, source_length, tos, table, _, _, kind, how = _ROUTE.unpack_from(body)
    version = _VERSIONS.get(family)
    if version is None or how & _CLONED:
        return None
    found = attributes(body, _ROUTE.size)
    table = _u32(found[15]) if 15 in found else table
    if table not in (TABLE_MAIN, TABLE_LOCAL) and (version, table) != (4, TABLE_DEFAULT):
        return None
    next_hop = _u32(found.get(30))
    legs, encapsulated = ((), False) if next_hop else _legs(version, found)
    narrow = tos or source_length
    return Entry(
        (version, _address(version, found.get(1)), length),
        table,
        _u32(found.get(6)),
        bytes((tos, source_length)) + found.get(2, b"") if narrow else b"",
        kind,
        legs,
        next_hop,
        encapsulated,
        _u32(attributes(found[8]).get(2)) if 8 in found else 0,
        _address(version, found[7]) if 7 in found else None,
        gone,
        bool(flags & NLM_F_REPLACE),
    )


def _neighbour(body: bytes, gone: bool, _: int) -> Neighbour | None:
    family, ifindex, state, flags, _ = _NEIGHBOUR.unpack_from(body)
    version = _VERSIONS.get(family)  # AF_BRIDGE: what a bridge learned, not a neighbour
    found = attributes(body, _NEIGHBOUR.size)
    if version is None or flags & _PROXY or 1 not in found:
        return None
    mac = found.get(2)
    address = version, _address(version, found[1])
    if gone or mac is None or len(mac) != 6:
        return Neighbour(ifindex, address, None)
    usable, silent = state & _USABLE, state & _NOARP and not mac[0] & 1
    return Neighbour(ifindex, address, mac if usable else None, mac if silent else None)


def _link(body: bytes, gone: bool, _: int) -> Link | Mtu6 | None:
    family, kind, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    if family == AF_INET6 and not gone:
        return Mtu6(index, _mtu6(found.get(12)))
    if family != AF_UNSPEC or (not gone and not {3, 4} <= found.keys()):
        return None  # a port leaving a bridge, or an event of another subsystem
    inet6 = attributes(found.get(26, b"")).get(AF_INET6)
    return Link(
        index,
        found.get(3, b"").rstrip(b"\0").decode(errors="replace"),
        found.get(1, b""),
        _u32(found.get(4)),
        _mtu6(inet6),
        bool(flags & 1),
        flags & _UP == _UP,
        kind == _ETHERNET and len(found.get(1, b"")) == 6,
        gone,
    )


def _mtu6(inet6: bytes | None) -> int:
    """The third number of IFLA_INET6_CONF (DEVCONF_MTU6)."""
    conf = attributes(inet6 or b"").get(1, b"")
    return _u32(conf[8:12])


def _own_address(body: bytes, gone: bool, _: int) -> OwnAddress | None:
    family, length, _, _, ifindex = _OWN.unpack_from(body)
    found = attributes(body, _OWN.size)
    told = bytes((length,)) + found.get(1, b"") + found.get(2, b"")
    return OwnAddress(ifindex, told, gone) if family == AF_INET else None


def _rule(body: bytes, gone: bool, _: int) -> Rule | None:
    family, *rest, table, _, _, action, flags = _ROUTE.unpack_from(body)
    version = _VERSIONS.get(family)
    if version is None:
        return None
    found = attributes(body, _ROUTE.size)
    priority, table = _u32(found.get(6)), _u32(found[15]) if 15 in found else table
    unselective = not any(rest) and flags & ~1 == 0 and action == 1
    plain = found.keys() <= _RULE_ATTRIBUTES and _u32(found.get(14, b"\xff" * 4)) == 0xFFFF_FFFF
    standard = unselective and plain and (priority, table) in _STANDARD_RULES
    return Rule(version, priority, body, standard or bool(found.get(_L3MDEV, b"\0")[0]), gone)


def _next_hop(body: bytes, gone: bool, _: int) -> NextHopObject | None:
    family = _NEXT_HOP.unpack_from(body)[0]
    found = attributes(body, _NEXT_HOP.size)
    version = _VERSIONS.get(family, 4)
    via = (version, _address(version, found[6])) if 6 in found else None
    # a group (2), a blackhole (4), a bridge's (11) or an encapsulation (8) is no single leg
    plain = 5 in found and not found.keys() & {2, 4, 8, 11}
    return NextHopObject(_u32(found.get(1)), Leg(_u32(found[5]), via) if plain else None, gone)


_READERS = {
    rtnl.RTM_NEWROUTE: (_entry, _ROUTE.size, False),
    rtnl.RTM_DELROUTE: (_entry, _ROUTE.size, True),
    rtnl.RTM_NEWNEIGH: (_neighbour, _NEIGHBOUR.size, False),
    rtnl.RTM_DELNEIGH: (_neighbour, _NEIGHBOUR.size, True),
    rtnl.RTM_NEWLINK: (_link, _LINK.size, False),
    rtnl.RTM_DELLINK: (_link, _LINK.size, True),
    rtnl.RTM_NEWADDR: (_own_address, _OWN.size, False),
    rtnl.RTM_DELADDR: (_own_address, _OWN.size, True),
    rtnl.RTM_NEWRULE: (_rule, _ROUTE.size, False),
    rtnl.RTM_DELRULE: (_rule, _ROUTE.size, True),
    RTM_NEWNEXTHOP: (_next_hop, _NEXT_HOP.size, False),
    RTM_DELNEXTHOP: (_next_hop, _NEXT_HOP.size, True),
}
