# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel says and what a router should be told, written by hand, in short."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from iridescent_xdp.functions.router_fib import Change, Fib
from iridescent_xdp.functions.router_messages import (
    TABLE_MAIN,
    UNICAST,
    Address,
    Entry,
    Key,
    Leg,
    Link,
    Message,
    Neighbour,
)
from iridescent_xdp.functions.router_tables import DeleteRoute, Hop, Route, SetRoute
from iridescent_xdp.functions.router_verdicts import MirrorRules

MAC = {1: b"\2\0\0\0\0\1", 2: b"\2\0\0\0\0\2", 3: b"\2\0\0\0\0\3"}


def address(text: str) -> Address:
    parsed = ip_address(text)
    return parsed.version, int(parsed)


def key(text: str) -> Key:
    parsed = ip_network(text)
    return parsed.version, int(parsed.network_address), parsed.prefixlen


def link(index: int, *, up: bool = True, carrier: bool = True, mtu: int = 1500) -> Link:
    mac = bytes((2, 0xEE, 0, 0, 0, index))
    return Link(index, f"eth{index}", mac, mtu, mtu, up, up and carrier, True, False)


def neighbour(index: int, text: str, mac: bytes | None) -> Neighbour:
    return Neighbour(index, address(text), mac)


def entry(  # what "ip route" says in one line
    prefix: str,
    *legs: tuple[int, str],
    metric: int = 0,
    kind: int = UNICAST,
    table: int = TABLE_MAIN,
    gone: bool = False,
    replace: bool = False,
    selector: bytes = b"",
    next_hop: int = 0,
    mtu: int = 0,
    source: str = "",
    encapsulated: bool = False,
) -> Entry:
    ways = tuple(Leg(index, address(via) if via else None) for index, via in legs)
    number = address(source)[1] if source else None
    return Entry(
        key(prefix), table, metric, selector, kind, ways, next_hop, encapsulated, mtu, number,
        gone, replace,
    )  # fmt: skip


def to(
    prefix: str, interface: str = "", mac: bytes | None = None, *, kind: str = "", mtu: int = 1500
) -> Route:
    network = ip_network(prefix)
    if kind:
        return Route(prefix=network, kind=kind)  # type: ignore[arg-type]
    index = 1 if interface == "wan" else int(interface.removeprefix("eth"))
    hop = Hop(ifindex=index, mac=mac, source_mac=bytes((2, 0xEE, 0, 0, 0, index)), mtu=mtu)
    return Route(prefix=network, interface=interface, via=mac, hop=hop)


def kernel(prefix: str) -> Route:
    return to(prefix, kind="local")


START: tuple[Message, ...] = (
    *(link(index) for index in (1, 2, 3)),
    neighbour(1, "10.1.0.2", MAC[1]),
    neighbour(2, "10.2.0.2", MAC[2]),
    neighbour(2, "2001:db8::2", MAC[2]),
)
VIA1, VIA2, VIA6 = (1, "10.1.0.2"), (2, "10.2.0.2"), (2, "2001:db8::2")


def fib_of(*told: Message, rules: MirrorRules | None = None) -> Fib:
    fib = Fib(rules)
    fib.start_over((*START, *told))
    fib.changes()
    return fib


def routes(fib: Fib) -> list[Route]:
    return list(fib.tables().routes)


def after(fib: Fib, *told: Message) -> list[Change]:
    for message in told:
        fib.take(message)
    return fib.changes()


def sets(*wanted: Route) -> list[Change]:
    return [SetRoute(route=route) for route in wanted]


def deletes(*prefixes: str) -> list[Change]:
    return [DeleteRoute(prefix=ip_network(prefix)) for prefix in prefixes]


P, P6 = "20.0.0.0/16", "2001:db8:1::/48"
