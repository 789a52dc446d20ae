# SPDX-License-Identifier: GPL-2.0-only
"""One rule of the packet filter: inert, and checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, get_args

from iridescent_xdp.errors import ConfigError

Network = IPv4Network | IPv6Network
Action = Literal["pass", "drop"]

TCP = 6
UDP = 17
SCTP = 132
PROTOCOLS_WITH_PORTS = frozenset({TCP, UDP, SCTP})
MAX_PORT = 0xFFFF
MAX_BYTE = 0xFF


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a packet must look like, and what happens to it; ``None`` asks nothing.

    Port ranges are inclusive and demand a packet with ports (TCP, UDP, SCTP, not a later
    fragment), also the range 0..65535. ``tcp_flags`` is (mask, value) and holds when
    ``flags & mask == value``. Raises ConfigError when a field breaks a rule or two of them
    can never hold together.
    """

    source: Network | None = None
    destination: Network | None = None
    protocol: int | None = None
    source_ports: tuple[int, int] | None = None
    destination_ports: tuple[int, int] | None = None
    tcp_flags: tuple[int, int] | None = None
    action: Action

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            raise ConfigError(f"action must be 'pass' or 'drop', got {self.action!r}")
        self._check_families()
        self._check_protocol()
        _check_ports("source_ports", self.source_ports)
        _check_ports("destination_ports", self.destination_ports)
        self._check_flags()

    @property
    def family(self) -> int | None:
        """4 or 6 when an address ties the rule to one family."""
        network = self.source or self.destination
        return network.version if network else None

    def _check_families(self) -> None:
        source, destination = self.source, self.destination
        if source and destination and source.version != destination.version:
            raise ConfigError(
                f"source and destination must be of one family, "
                f"got source={source}, destination={destination}",
                cure="write one rule for IPv4 and one for IPv6",
            )

    def _check_protocol(self) -> None:
        if self.protocol is None:
            return
        if not 0 <= self.protocol <= MAX_BYTE:
            raise ConfigError(f"0 <= protocol <= 255 must hold, got protocol={self.protocol}")
        asked = [name for name in ("source_ports", "destination_ports") if getattr(self, name)]
        if asked and self.protocol not in PROTOCOLS_WITH_PORTS:
            raise ConfigError(
                f"{asked[0]} needs a protocol that has ports, got protocol={self.protocol}",
                cure="use 6 (TCP), 17 (UDP) or 132 (SCTP), or leave the ports out",
            )

    def _check_flags(self) -> None:
        if self.tcp_flags is None:
            return
        mask, value = self.tcp_flags
        if self.protocol not in (None, TCP):
            raise ConfigError(
                f"tcp_flags needs protocol 6 (TCP) or none, got protocol={self.protocol}",
                cure="leave tcp_flags or the protocol out",
            )
        if not 0 <= mask <= MAX_BYTE:
            raise ConfigError(f"0 <= tcp_flags mask <= 255 must hold, got mask={mask}")
        if value < 0 or value & ~mask:
            raise ConfigError(
                f"the value of tcp_flags must lie inside its mask, "
                f"got mask={mask:#04x}, value={value:#04x}",
                cure="set every bit of the value in the mask too",
            )


def _check_ports(name: str, ports: tuple[int, int] | None) -> None:
    if ports is None:
        return
    low, high = ports
    if not 0 <= low <= high <= MAX_PORT:
        raise ConfigError(f"0 <= low <= high <= 65535 must hold for {name}, got {low}..{high}")
