# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel's packet generator is told: devices, and a mix expressed as devices.

A pktgen device sends frames of one kind: UDP in one family, with one size and the same tags, whose
addresses and ports count through ranges. So a mix becomes one device for each kind that it has,
and the shares of the mix become the counts of the devices, exactly. What pktgen can not express
is an error that lists it, or, where approximations are allowed, a note.

Source: Documentation/networking/pktgen.rst and net/core/pktgen.c of Linux.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from itertools import product

import numpy as np

from iridescent_xdp.errors import TrafficError
from traffic.mix_shares import apportion
from traffic.mix_spec import Mix
from traffic.packet_build import DESTINATION_MAC, Family

Address = IPv4Address | IPv6Address
Ports = tuple[int, int]

SOURCES: dict[Family, Address] = {4: IPv4Address("198.18.0.1"), 6: IPv6Address("2001:2:0:1::1")}
DESTINATIONS: dict[Family, Address] = {
    4: IPv4Address("198.19.0.1"),
    6: IPv6Address("2001:2:0:2::1"),
}
DISCARD_PORT = 9
FIRST_FLOW_PORT = 1024
OUTER_TAG, INNER_TAGS = 100, (200, 201)  # as traffic.packet_build has them

_MAX_PORT = 65_535
_UDP_ONLY = (0.0, 1.0, 0.0, 0.0)
_ALLOW = "--approximate (approximate=True) sends what comes nearest and says so"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What one pktgen device sends.

    ``size_bytes`` is the frame without FCS; headers that need more make a longer frame (IPv6: at
    least 78). ``destinations`` addresses (IPv4 only) and the ports of both ranges, first to last,
    are taken in turn: each packet has the next of each. ``flow_length`` packets in a row go to the
    same destination. ``count`` 0 means until stopped; ``pps`` None means as fast as it goes.
    Raises TrafficError when a value breaks a rule.
    """

    family: Family = 4
    tags: int = 0
    size_bytes: int = 60
    count: int = 0
    pps: float | None = None
    source: Address | None = None
    destination: Address | None = None
    destinations: int = 1
    flow_length: int = 1
    source_ports: Ports = (DISCARD_PORT, DISCARD_PORT)
    destination_ports: Ports = (DISCARD_PORT, DISCARD_PORT)
    destination_mac: str = DESTINATION_MAC

    def __post_init__(self) -> None:
        for name, low in (("count", 0), ("destinations", 1), ("flow_length", 1)):
            value = getattr(self, name)
            _demand(value >= low, f"{name} >= {low}", f"{name}={value}")
        _demand(0 <= self.tags <= 2, "0 <= tags <= 2", f"tags={self.tags}")
        _demand(self.pps is None or self.pps >= 1, "pps >= 1", f"pps={self.pps}")
        _demand(
            self.family == 4 or self.destinations == 1,
            "destinations = 1 for IPv6, whose addresses pktgen only draws at random,",
            f"destinations={self.destinations}",
        )
        for name in ("source", "destination"):
            address = getattr(self, name)
            _demand(
                address is None or address.version == self.family,
                f"{name} is an IPv{self.family} address",
                f"{name}={address}",
            )
        for name in ("source_ports", "destination_ports"):
            low, high = getattr(self, name)
            _demand(
                0 <= low <= high < _MAX_PORT,
                f"0 <= first <= last < {_MAX_PORT} in {name}",
                f"{low}-{high}",
            )

    @property
    def distinct(self) -> int:
        """Different packets there are before the ranges start again."""
        ranges = (self.source_ports, self.destination_ports)
        sizes = [high - low + 1 for low, high in ranges] + [self.destinations * self.flow_length]
        return int(np.lcm.reduce(sizes))

    def commands(self, *, clone: int = 0, burst: int = 1) -> Iterator[str]:
        """The lines to write to a fresh device, in an order that the kernel takes.

        ``clone`` and ``burst`` repeat the same packet that often; not every driver takes them.
        """
        yield f"count {self.count}"
        yield f"pkt_size {self.size_bytes}"
        yield f"dst_mac {self.destination_mac}"
        yield from self._addresses()
        for name, (low, high) in (("src", self.source_ports), ("dst", self.destination_ports)):
            yield f"udp_{name}_min {low}"
            # the kernel's upper end is never sent, except where both ends are the same
            yield f"udp_{name}_max {high + 1 if high > low else high}"
        if self.tags:
            yield f"vlan_id {INNER_TAGS[self.tags - 1]}"
        if self.tags == 2:
            yield f"svlan_id {OUTER_TAG}"
        if self.pps is None:
            yield "delay 0"
        else:
            yield f"ratep {round(self.pps)}"
        yield "flag QUEUE_MAP_CPU"  # each thread has a queue of its own, as far as they go
        yield f"clone_skb {clone}"
        if burst > 1:
            yield f"burst {burst}"

    def _addresses(self) -> Iterator[str]:
        source = self.source or SOURCES[self.family]
        first = self.destination or DESTINATIONS[self.family]
        if self.family == 6:
            yield from (f"src6 {source}", f"dst6 {first}", "flag UDPCSUM")
            return
        yield from (f"src_min {source}", f"src_max {source}")
        yield from (f"dst_min {first}", f"dst_max {first + (self.destinations - 1)}")
        if self.flow_length > 1:
            yield from (f"flows {self.destinations}", f"flowlen {self.flow_length}")
            yield "flag FLOW_SEQ"


@dataclass(frozen=True, kw_only=True)
class PktgenPlan:
    """A mix as kinds, whose counts add up; ``notes`` says what is not as the mix has it."""

    name: str
    kinds: tuple[Kind, ...]
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Packets in all; 0 means until stopped."""
        return sum(kind.count for kind in self.kinds)


def plan_mix(
    mix: Mix,
    count: int,
    *,
    pps: float | None = None,
    destination_mac: str = DESTINATION_MAC,
    approximate: bool = False,
) -> PktgenPlan:
    """``count`` packets of ``mix`` as pktgen sends them, together at ``pps``.

    Raises TrafficError that lists what of the mix pktgen can not express, unless ``approximate``;
    or when there are more kinds than packets.
    """
    lacking = tuple(inexpressible(mix))
    if lacking and not approximate:
        raise TrafficError(
            f"pktgen can not send mix '{mix.name}': {'; '.join(lacking)}", cure=_ALLOW
        )
    kinds = [
        (
            Kind(family=family, tags=tags, size_bytes=size, destination_mac=destination_mac),
            a * b * c,
        )
        for (family, a), (tags, b), (size, c) in product(
            _families(mix), enumerate(mix.vlan_shares), mix.sizes
        )
        if a * b * c > 0
    ]
    if count < len(kinds):
        raise TrafficError(
            f"a mix of {len(kinds)} kinds of packets needs count >= {len(kinds)}, got {count}"
        )
    counts = apportion(np.array([share for _, share in kinds]), count).tolist()
    return PktgenPlan(
        name=mix.name,
        kinds=tuple(
            replace(
                _with_flows(kind, mix.flows),
                count=part,
                pps=None if pps is None else max(1.0, pps * part / count),
            )
            for (kind, _), part in zip(kinds, counts, strict=True)
        ),
        notes=(*lacking, *_differences(mix, len(kinds), pps)),
    )


def divided(plan: PktgenPlan, threads: int) -> list[PktgenPlan]:
    """``plan`` for several threads: counts and rates divided, nothing lost in the division."""
    parts: list[PktgenPlan] = []
    for place in range(threads):
        kinds = [
            replace(
                kind,
                count=kind.count // threads + (place < kind.count % threads),
                pps=None if kind.pps is None else max(1.0, kind.pps / threads),
            )
            for kind in plan.kinds
        ]
        # a count of 0 would never end
        kept = tuple(
            new for new, old in zip(kinds, plan.kinds, strict=True) if new.count or not old.count
        )
        parts.append(replace(plan, kinds=kept))
    return parts


def inexpressible(mix: Mix) -> Iterator[str]:
    """What of a mix pktgen has no words for, and what it sends instead."""
    if tuple(mix.protocol_shares) != _UDP_ONLY:
        yield f"it sends UDP only, protocol_shares={mix.protocol_shares}"
    if mix.locality != "none" and mix.flows > 1:
        yield f"its flows come in turn, equally often, locality={mix.locality!r}"
    for name in ("ip_options", "fragment", "break"):
        share = getattr(mix, f"{name}_share")
        if share:
            yield f"it makes no such packets, {name}_share={share}"
    if mix.hits:
        yield f"it knows no rules, hits has {len(mix.hits)}"


def _differences(mix: Mix, kinds: int, pps: float | None) -> Iterator[str]:
    """What is told, but no reason to refuse."""
    if kinds > 1 and pps is None:
        yield "without a rate the kernel sends one kind of packets after the other"
    if mix.vlan_shares[2]:
        yield "both tags have the type 0x8100, the mix's outer one has 0x88a8"
    if mix.ipv6_share and mix.flows > 1:
        yield "IPv6 flows differ in their source ports, not in their addresses"
    if mix.ipv6_share and min(size for size, _ in mix.sizes) < _MIN_IPV6_BYTES:
        yield f"IPv6 frames have {_MIN_IPV6_BYTES} bytes at least"


_MIN_IPV6_BYTES = 78  # Ethernet, IPv6, UDP, and pktgen's own header of 16 bytes


def _families(mix: Mix) -> tuple[tuple[Family, float], ...]:
    return (4, 1 - mix.ipv6_share), (6, mix.ipv6_share)


def _with_flows(kind: Kind, flows: int) -> Kind:
    """IPv4 flows differ in the destination, IPv6 ones in the source port."""
    if kind.family == 4:
        return replace(kind, destinations=flows)
    return replace(kind, source_ports=(FIRST_FLOW_PORT, FIRST_FLOW_PORT + flows - 1))


def _demand(holds: bool, rule: str, value: str) -> None:
    if not holds:
        raise TrafficError(f"pktgen: {rule} must hold, got {value}")
