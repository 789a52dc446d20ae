# SPDX-License-Identifier: GPL-2.0-only
"""Packets on both sides of every edge of every filter rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from iridescent_xdp.functions.rules import Rule
from traffic.mix_flows import network_range
from traffic.packet_build import (
    ICMP_V4,
    ICMP_V6,
    SCTP_PROTOCOL,
    TCP_ACK,
    TCP_PROTOCOL,
    UDP_PROTOCOL,
    Family,
    Flow,
    Shape,
    frame,
)

Named = tuple[str, bytes]
NamedFlow = tuple[str, Flow]

PLAIN = {"plain": Shape()}
SHAPES = {
    **PLAIN,
    "1-tag": Shape(tags=1),
    "2-tags": Shape(tags=2),
    "options": Shape(options_bytes=8),
    "first-fragment": Shape(fragment="first"),
    "later-fragment": Shape(fragment="later"),
}
MAX_SHAPED_RULES = 64  # of a longer list, this many rules get all shapes, the others are plain

_MAX_PORT = 0xFFFF
_BITS: dict[Family, int] = {4: 32, 6: 128}
# Where a rule names no address: benchmark addresses (RFC 2544, RFC 5180).
_SOURCE: dict[Family, int] = {4: 0xC612_0001, 6: 0x2001_0002_0000_0001 << 64 | 1}
_DESTINATION: dict[Family, int] = {4: 0xC613_0001, 6: 0x2001_0002_0000_0002 << 64 | 1}
_PORTS = (1234, 80)


def for_rules(rules: Sequence[Rule]) -> Iterator[Named]:
    """Packets that hit each rule at its edges, and that just miss each of its conditions.

    Each comes plain, with one and two tags, with IP options (in IPv6: a hop-by-hop header), as
    first and as later fragment. Of more than MAX_SHAPED_RULES rules, that many, evenly spread,
    get all shapes, the others plain packets only. Earlier rules may take a packet first.
    """
    shaped = _evenly(len(rules), MAX_SHAPED_RULES)
    for index, rule in enumerate(rules):
        shapes = SHAPES if index in shaped else PLAIN
        for label, flow in (*hits(rule), *misses(rule)):
            for shape_name, shape in shapes.items():
                yield f"rule-{index}/{label}/{shape_name}", frame(flow, shape)


def _evenly(count: int, most: int) -> set[int]:
    """At most ``most`` of ``count`` indices, the first and the last among them."""
    if count <= most:
        return set(range(count))
    return {round(step * (count - 1) / (most - 1)) for step in range(most)}


def hits(rule: Rule) -> Iterator[NamedFlow]:
    """Flows that meet every condition: at the low and high edges, and of each protocol."""
    low, high = _edges(rule)
    yield "hit-low", low
    yield "hit-high", high
    if rule.protocol is None and rule.tcp_flags is None and _asks_ports(rule):
        for protocol in (UDP_PROTOCOL, SCTP_PROTOCOL):
            yield f"hit-protocol-{protocol}", replace(low, protocol=protocol)
    if rule.family is None:
        yield "hit-ipv6", _other_family(low)
    if rule.tcp_flags is not None:
        mask, value = rule.tcp_flags
        yield "hit-all-other-flags", replace(low, tcp_flags=~mask & 0xFF | value)


def misses(rule: Rule) -> Iterator[NamedFlow]:
    """Flows that meet every condition but one, and that one only just not."""
    low, high = _edges(rule)
    yield from _address_misses(rule, low, high)
    yield from _port_misses(rule, low, high)
    yield from _protocol_misses(rule, low)
    if rule.family is not None:
        yield "miss-family", _other_family(low)
    if rule.tcp_flags is not None:
        mask = rule.tcp_flags[0]
        for bit in sorted({mask & -mask, 1 << mask.bit_length() >> 1} - {0}):
            flags = low.tcp_flags ^ bit
            yield f"miss-flag-{bit:#04x}", replace(low, tcp_flags=flags)


def _edges(rule: Rule) -> tuple[Flow, Flow]:
    """The hitting flows with the lowest and with the highest addresses and ports."""
    family: Family = 6 if rule.family == 6 else 4
    source = network_range(rule.source) or (_SOURCE[family],) * 2
    destination = network_range(rule.destination) or (_DESTINATION[family],) * 2
    source_ports = rule.source_ports or (_PORTS[0],) * 2
    destination_ports = rule.destination_ports or (_PORTS[1],) * 2
    mask, value = rule.tcp_flags or (0, 0)
    low, high = (
        Flow(
            family=family,
            source=source[edge],
            destination=destination[edge],
            protocol=TCP_PROTOCOL if rule.protocol is None else rule.protocol,
            source_port=source_ports[edge],
            destination_port=destination_ports[edge],
            tcp_flags=TCP_ACK & ~mask | value,
        )
        for edge in (0, 1)
    )
    return low, high


def _asks_ports(rule: Rule) -> bool:
    return rule.source_ports is not None or rule.destination_ports is not None


def _address_misses(rule: Rule, low: Flow, high: Flow) -> Iterator[NamedFlow]:
    top = (1 << _BITS[low.family]) - 1
    if rule.source is not None:
        if low.source > 0:
            yield "miss-source-below", replace(low, source=low.source - 1)
        if high.source < top:
            yield "miss-source-above", replace(high, source=high.source + 1)
    if rule.destination is not None:
        if low.destination > 0:
            yield "miss-destination-below", replace(low, destination=low.destination - 1)
        if high.destination < top:
            yield "miss-destination-above", replace(high, destination=high.destination + 1)


def _port_misses(rule: Rule, low: Flow, high: Flow) -> Iterator[NamedFlow]:
    if rule.source_ports is not None:
        if low.source_port > 0:
            yield "miss-source-port-below", replace(low, source_port=low.source_port - 1)
        if high.source_port < _MAX_PORT:
            yield "miss-source-port-above", replace(high, source_port=high.source_port + 1)
    if rule.destination_ports is not None:
        below, above = low.destination_port - 1, high.destination_port + 1
        if below >= 0:
            yield "miss-destination-port-below", replace(low, destination_port=below)
        if above <= _MAX_PORT:
            yield "miss-destination-port-above", replace(high, destination_port=above)


def _protocol_misses(rule: Rule, low: Flow) -> Iterator[NamedFlow]:
    """Another protocol without ports and, when the rule asks for one of TCP and UDP, the other."""
    asks = rule.protocol is not None or rule.tcp_flags is not None
    if not asks and not _asks_ports(rule):
        return
    others = [ICMP_V4 if low.family == 4 else ICMP_V6]
    if asks:
        others.append(UDP_PROTOCOL if low.protocol == TCP_PROTOCOL else TCP_PROTOCOL)
    for protocol in others:
        if protocol != rule.protocol:
            yield f"miss-protocol-{protocol}", replace(low, protocol=protocol)


def _other_family(flow: Flow) -> Flow:
    """The same flow in the other family; the first 32 bits of the addresses stay equal."""
    if flow.family == 4:
        return replace(flow, family=6, source=flow.source << 96, destination=flow.destination << 96)
    return replace(flow, family=4, source=flow.source >> 96, destination=flow.destination >> 96)
