# SPDX-License-Identifier: GPL-2.0-only
"""Random flows: between benchmark addresses, or inside the conditions of a rule."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from iridescent_xdp.functions.rules import Network, Rule
from traffic.packet_build import (
    ICMP_V4,
    ICMP_V6,
    PORT_PROTOCOLS,
    TCP_ACK,
    TCP_PROTOCOL,
    UDP_PROTOCOL,
    Family,
    Flow,
)

Range = tuple[int, int]

# Benchmark addresses: RFC 2544 (198.18.0.0/15) and RFC 5180 (2001:2::/48).
_BENCHMARK: dict[Family, tuple[Range, Range]] = {
    4: ((0xC612_0000, 0xC612_FFFF), (0xC613_0000, 0xC613_FFFF)),
    6: (
        (0x2001_0002_0000_0001 << 64, (0x2001_0002_0000_0002 << 64) - 1),
        (0x2001_0002_0000_0002 << 64, (0x2001_0002_0000_0003 << 64) - 1),
    ),
}
# Unicast: 1.0.0.0 to 126.255.255.255, and 2000::/3.
_ANYWHERE: dict[Family, Range] = {4: (1 << 24, (127 << 24) - 1), 6: (1 << 125, (1 << 126) - 1)}

_CLIENT_PORTS = (1024, 65535)
_SERVER_PORTS = (1, 65535)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a flow is like where no rule says otherwise."""

    family: Family = 4
    protocol: int = TCP_PROTOCOL


def random_flow(wish: Wish, random: Random, *, anywhere: bool = False) -> Flow:
    """A flow between benchmark addresses, or between any unicast addresses."""
    addresses = _ANYWHERE[wish.family]
    pools = (addresses, addresses) if anywhere else _BENCHMARK[wish.family]
    return _flow(wish, pools, (_CLIENT_PORTS, _SERVER_PORTS), TCP_ACK, random)


def flow_inside(rule: Rule, wish: Wish, random: Random) -> Flow:
    """A random flow that meets every condition of ``rule``."""
    protocol = _protocol(rule, wish)
    family: Family = 6 if (rule.family or wish.family) == 6 else 4
    if rule.protocol is None and protocol in (ICMP_V4, ICMP_V6):
        protocol = ICMP_V4 if family == 4 else ICMP_V6
    source, destination = _BENCHMARK[family]
    pools = (network_range(rule.source) or source, network_range(rule.destination) or destination)
    ports = (rule.source_ports or _CLIENT_PORTS, rule.destination_ports or _SERVER_PORTS)
    mask, value = rule.tcp_flags or (0, 0)
    wish = Wish(family=family, protocol=protocol)
    return _flow(wish, pools, ports, TCP_ACK & ~mask | value, random)


def network_range(network: Network | None) -> Range | None:
    """First and last address of a prefix as integers."""
    if network is None:
        return None
    return int(network.network_address), int(network.broadcast_address)


def _protocol(rule: Rule, wish: Wish) -> int:
    if rule.protocol is not None:
        return rule.protocol
    if rule.tcp_flags is not None:
        return TCP_PROTOCOL
    if (rule.source_ports or rule.destination_ports) and wish.protocol not in PORT_PROTOCOLS:
        return UDP_PROTOCOL
    return wish.protocol


def _flow(
    wish: Wish,
    addresses: tuple[Range, Range],
    ports: tuple[Range, Range],
    flags: int,
    random: Random,
) -> Flow:
    has_ports = wish.protocol in PORT_PROTOCOLS
    source, destination = (random.randint(low, high) for low, high in addresses)
    source_port, destination_port = (random.randint(low, high) for low, high in ports)
    return Flow(
        family=wish.family,
        source=source,
        destination=destination,
        protocol=wish.protocol,
        source_port=source_port if has_ports else 0,
        destination_port=destination_port if has_ports else 0,
        tcp_flags=flags,
    )
