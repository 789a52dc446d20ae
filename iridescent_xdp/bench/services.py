# SPDX-License-Identifier: GPL-2.0-only
"""The services of the suites: ten, two of them IPv6, with 10 to 100 backends each."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

from iridescent_xdp.functions.l4lb_tables import (
    Address,
    Backend,
    L4lbTables,
    Protocol,
    Service,
    ServiceId,
    Settings,
)
from iridescent_xdp.functions.rules import TCP, UDP, Rule

COUNT = 10
PORTS: tuple[tuple[Protocol, int], ...] = (("tcp", 443), ("tcp", 80), ("udp", 443), ("udp", 53))
IPV6_EVERY = 5  # the last of five services is IPv6
# service addresses as the traffic mixes have them (RFC 2544, RFC 5180)
_FIRST4, _FIRST6 = IPv4Address("198.19.0.10"), IPv6Address("2001:2:0:2::10")
_BACKENDS4, _BACKENDS6 = IPv4Address("10.0.0.0"), IPv6Address("fd00::")
SETTINGS = Settings(
    gateway_mac=bytes.fromhex("020000000021"),
    source_address4=IPv4Address("198.18.255.1"),
    source_address6=IPv6Address("2001:2:0:1::ffff"),
)


def services(count: int = COUNT) -> tuple[Service, ...]:
    """``count`` services, each with an address of its own. More than COUNT have a tenth of the
    backends."""
    return tuple(_service(number, 10 if count <= COUNT else 1) for number in range(count))


def _service(number: int, step: int) -> Service:
    protocol, port = PORTS[number % len(PORTS)]
    six = number % IPV6_EVERY == IPV6_EVERY - 1
    address: Address = _FIRST6 + number if six else _FIRST4 + number
    backends = tuple(
        Backend(address=(_BACKENDS6 if six else _BACKENDS4) + (number << 8) + place + 1)
        for place in range(step * (1 + number % 10))
    )
    return Service(id=ServiceId(address=address, port=port, protocol=protocol), backends=backends)


def tables(count: int = COUNT) -> L4lbTables:
    """The services as the load balancer takes them."""
    return L4lbTables(services=services(count), settings=SETTINGS)


def as_rules(count: int = COUNT) -> tuple[Rule, ...]:
    """Which packets are for a service."""
    return tuple(
        Rule(
            destination=ip_network(service.id.address),
            protocol={"tcp": TCP, "udp": UDP}[service.id.protocol],
            destination_ports=(service.id.port, service.id.port),
            action="pass",
        )
        for service in services(count)
    )
