# SPDX-License-Identifier: GPL-2.0-only
"""The 64 rules of the suites: what an edge filter in front of a few servers looks like.

They are fixed, because bench/handwritten_filter.bpf.c is written for exactly these. The order is
an operator's: exceptions first, then sources that are never welcome, then services that are not
reached from outside. The networks are those of the traffic mixes: clients in 198.18.0.0/16
and 2001:2:0:1::/64, servers in 198.19.0.0/16 and 2001:2:0:2::/64 (RFC 2544, RFC 5180).
"""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from random import Random

from iridescent_xdp.functions.rules import TCP, UDP, Network, Rule

Ports = tuple[int, int]


def _ports(low: int, high: int | None = None) -> Ports:
    return (low, low if high is None else high)


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(word) for word in text.split())


def _to(protocol: int, *ports: Ports) -> tuple[Rule, ...]:
    return tuple(Rule(protocol=protocol, destination_ports=p, action="drop") for p in ports)


def _from(protocol: int, *ports: Ports) -> tuple[Rule, ...]:
    return tuple(Rule(protocol=protocol, source_ports=p, action="drop") for p in ports)


def _service(
    action: str, protocol: int, port: Ports, source: str | None = None, to: str | None = None
) -> Rule:
    return Rule(
        source=ip_network(source) if source else None,
        destination=ip_network(to) if to else None,
        protocol=protocol,
        destination_ports=port,
        action="pass" if action == "pass" else "drop",
    )


_EXCEPTIONS = (
    _service("pass", TCP, _ports(22), source="192.0.2.0/24"),
    _service("pass", TCP, _ports(22), source="2001:db8:10::/48"),
    _service("pass", UDP, _ports(161), source="192.0.2.0/24"),
    _service("pass", UDP, _ports(123), source="203.0.113.0/26"),
    _service("pass", TCP, _ports(25), source="203.0.113.128/25", to="198.19.25.0/24"),
    _service("pass", TCP, _ports(443), to="198.19.80.0/24"),
    _service("pass", UDP, _ports(53), to="198.19.53.0/24"),
    _service("pass", UDP, _ports(53), to="2001:2:0:2:53::/80"),
)

# what never is a source (RFC 6890), then networks and hosts that misbehaved
_BLOCKED = _networks(
    "fc00::/7 fe80::/10 ff00::/8 2001:db8::/32 3ffe::/16 2001:2:0:1:bad::/80 "
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
    "192.168.0.0/16 198.51.100.0/24 224.0.0.0/4 240.0.0.0/4 "
    "198.18.7.0/24 198.18.66.0/23 198.18.96.0/20 198.18.129.17/32 198.18.200.128/25 "
    "185.220.100.0/22 45.155.204.0/23 91.240.118.0/24 193.32.160.0/21"
)

_SCANS = tuple(
    Rule(tcp_flags=flags, action="drop") for flags in ((0x3F, 0x00), (0x29, 0x29), (0x03, 0x03))
)

_TCP_SERVICES = _to(
    TCP,
    *(_ports(23), _ports(25), _ports(111), _ports(135, 139), _ports(445), _ports(1433)),
    *(_ports(3306), _ports(3389), _ports(5900, 5903), _ports(6379), _ports(9200), _ports(27017)),
)

_UDP_SERVICES = _to(
    UDP,
    *(_ports(69), _ports(111), _ports(137, 138), _ports(161), _ports(389), _ports(1900)),
    _ports(11211),
)

# answers that nobody asked for: reflection
_REFLECTED = _from(UDP, _ports(17, 19), _ports(1900), _ports(11211))

_INSIDE = (
    _service("drop", TCP, _ports(22), to="198.19.0.0/17"),
    _service("drop", TCP, _ports(8000, 8099), to="198.19.128.0/17"),
    _service("drop", UDP, _ports(53), to="198.19.128.0/17"),
    _service("drop", TCP, _ports(22), to="2001:2:0:2:8000::/65"),
    Rule(destination=ip_network("198.19.255.0/24"), action="drop"),
)

RULES: tuple[Rule, ...] = (
    *_EXCEPTIONS,
    *(Rule(source=network, action="drop") for network in _BLOCKED),
    *_SCANS,
    *_TCP_SERVICES,
    *_UDP_SERVICES,
    *_REFLECTED,
    *_INSIDE,
)


def many_rules(count: int) -> tuple[Rule, ...]:
    """``count`` different rules of the same kinds, for what depends on their number: two of five
    block a source network, the others a port, one third of them to one network of ours only."""
    random, found = Random(count), dict[Rule, None]()
    while len(found) < count:
        port = random.randint(1, 65_535)
        network = IPv4Network((random.randrange(1 << 24, 224 << 24) & 0xFFFF_FF00, 24))
        kind = random.randrange(5)
        protocol = None if kind < 2 else random.choice((TCP, UDP))
        rule = Rule(
            source=network if kind < 2 else None,
            destination=IPv4Network((0xC613_0000 | int(network.network_address) & 0xFF00, 24))
            if kind == 4
            else None,
            protocol=protocol,
            destination_ports=None if kind < 2 else (port, min(port + random.randrange(4), 65_535)),
            action="drop",
        )
        found[rule] = None
    return tuple(found)
