# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of packets to a prefix, as a mirror of the kernel's routes decides it, and how much
room the router's maps have for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, NamedTuple

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.router_messages import Key, Link
from iridescent_xdp.functions.router_tables import Hop, Network, Route


@dataclass(frozen=True, kw_only=True)
class MirrorRules:
    """What a mirror leaves to the kernel beside what it must.

    ``ingress`` is the interface that the router is on: packets that would leave by it again go to
    the kernel, which tells their sender a shorter way (ICMP redirect), unless ``hairpin``.
    ``check_transmit`` leaves to it what would leave by an interface that cannot send redirected
    packets; in generic XDP mode all can. ``hops``, ``ports`` and ``routes`` are limits of the
    router's maps: distinct next hops, interfaces to leave by, and routes. ``hops`` is half of what
    the router has room for: a change of an interface makes all its hops new while the old ones are
    still used.
    """

    ingress: str = ""
    hairpin: bool = False
    check_transmit: bool = True
    hops: int = 500
    ports: int = 256
    routes: int = 1_000_000

    def __post_init__(self) -> None:
        for name in ("hops", "ports", "routes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")


class Verdict(NamedTuple):
    """What becomes of packets to a prefix; ``mtu`` in bytes; ``direct``: to themselves, on-link.

    ``unsure`` says why a prefix is left to the kernel whose packets it may forward.
    """

    kind: Literal["forward", "local", "blackhole"]
    link: Link | None = None
    mac: bytes | None = None
    mtu: int = 0
    direct: bool = False
    unsure: str = ""

    def hop(self) -> Hop:
        """The next hop that it takes room for."""
        assert self.link is not None
        source = self.link.mac
        return Hop(ifindex=self.link.ifindex, mac=self.mac, source_mac=source, mtu=self.mtu)


TO_KERNEL, DROPPED = Verdict("local"), Verdict("blackhole")
SEVERAL = Verdict("local", unsure="with several next hops")
SELECTED = Verdict("local", unsure="with a route for a TOS or a source prefix")
SHADED = Verdict("local", unsure="inside a local prefix")


class Room:
    """How many routes use each next hop and each interface."""

    def __init__(self, rules: MirrorRules) -> None:
        self._rules = rules
        self._hops: Counter[Hop] = Counter()
        self._ports: Counter[int] = Counter()
        self.freed = False  # a hop or an interface became unused

    def leave(self, verdict: Verdict | None) -> None:
        """Give back what ``enter`` took."""
        if verdict is None or verdict.kind != "forward":
            return
        hop = verdict.hop()
        self._hops[hop] -= 1
        self._ports[hop.ifindex] -= 1
        if not self._hops[hop]:
            del self._hops[hop]
            self.freed = True
        if not self._ports[hop.ifindex]:
            del self._ports[hop.ifindex]

    def enter(self, verdict: Verdict | None) -> bool:
        """Whether there is room for the next hop; it is counted then."""
        if verdict is None or verdict.kind != "forward":
            return True
        hop = verdict.hop()
        if hop not in self._hops and len(self._hops) >= self._rules.hops:
            return False
        if hop.ifindex not in self._ports and len(self._ports) >= self._rules.ports:
            return False
        self._hops[hop] += 1
        self._ports[hop.ifindex] += 1
        return True


def is_martian(key: Key) -> bool:
    """Whether no router forwards what goes there: is_martian4 and is_martian6 of the template."""
    version, number, length = key
    if version == 4:
        return (length >= 8 and number >> 24 in (0, 127)) or (length >= 3 and number >> 29 == 7)
    return (length >= 8 and number >> 120 == 0xFF) or (length >= 10 and number >> 118 == 0x3FA)


def network(key: Key) -> Network:
    """A prefix as the standard library has it."""
    version, number, length = key
    return (IPv4Network if version == 4 else IPv6Network)((number, length))


def route(key: Key, verdict: Verdict) -> Route:
    """A verdict as the router's tables have it."""
    if verdict.link is None:
        return Route(prefix=network(key), kind=verdict.kind)
    hop = verdict.hop()
    return Route(prefix=network(key), interface=verdict.link.name, via=hop.mac, hop=hop)
