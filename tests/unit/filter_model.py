# SPDX-License-Identifier: GPL-2.0-only
"""What the filter's rules mean, said again with Python's own ``ipaddress``.

An independent model: it shares nothing with the code that compiles or looks up rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from iridescent_xdp.functions.rules import Rule

Address = IPv4Address | IPv6Address
TCP = 6


@dataclass(frozen=True, kw_only=True)
class PacketKey:
    """What the parser found: ``struct packet_key`` with addresses as addresses.

    Without ports (``has_ports`` false) ports and flags are 0, as in the zeroed struct.
    """

    source: Address
    destination: Address
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    tcp_flags: int = 0
    has_ports: bool = False

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.source.version


def first_match(rules: Sequence[Rule], key: PacketKey) -> int | None:
    """The index of the first rule that matches, or None."""
    for index, rule in enumerate(rules):
        if matches(rule, key):
            return index
    return None


def matches(rule: Rule, key: PacketKey) -> bool:
    """Whether every condition of the rule holds."""
    if rule.source is not None and key.source not in rule.source:
        return False
    if rule.destination is not None and key.destination not in rule.destination:
        return False
    if rule.protocol is not None and key.protocol != rule.protocol:
        return False
    return (
        _port_matches(rule.source_ports, key.source_port, key)
        and _port_matches(rule.destination_ports, key.destination_port, key)
        and _flags_match(rule.tcp_flags, key)
    )


def _port_matches(ports: tuple[int, int] | None, port: int, key: PacketKey) -> bool:
    return ports is None or (key.has_ports and port in range(ports[0], ports[1] + 1))


def _flags_match(flags: tuple[int, int] | None, key: PacketKey) -> bool:
    if flags is None:
        return True
    mask, value = flags
    return key.has_ports and key.protocol == TCP and key.tcp_flags & mask == value
