# SPDX-License-Identifier: GPL-2.0-only
"""What a router does to one frame, written from the RFCs and docs/router.md, for tests.

Shares nothing with the template: prefixes are searched with ``ipaddress``, checksums are summed up
from scratch.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

DROP, PASS, REDIRECT = 1, 2, 4
ETHERNET = 14
MARTIANS = [
    ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "ff00::/8", "fe80::/10", "::/127")
]


@dataclass(frozen=True)
class ModelHop:
    """Where a route leads: ``kind`` forward, local or blackhole."""

    kind: str
    mac: bytes | None = None
    source_mac: bytes = bytes(6)
    mtu: int = 1500


@dataclass(frozen=True)
class Outcome:
    """A verdict, the frame afterwards, and what the packet counts as."""

    verdict: int
    frame: bytes
    counted: str


Hops = Mapping[IPv4Network | IPv6Network, ModelHop]


class RouterModel:
    """Longest prefix match by trying every length, the longest first."""

    def __init__(self, hops: Hops, *, verify: bool = True) -> None:
        self.hops = dict(hops)
        self._verify = verify

    def route(self, frame: bytes) -> Outcome:
        """What becomes of a frame of 14 bytes or more."""
        kind = frame[12:14]
        if kind == b"\x08\x00":
            return self._ipv4(frame)
        if kind == b"\x86\xdd":
            return self._ipv6(frame)
        return Outcome(PASS, frame, "not IP")

    def _ipv4(self, frame: bytes) -> Outcome:
        packet = frame[ETHERNET:]
        if len(packet) < 20 or packet[0] >> 4 != 4 or packet[0] & 15 < 5:
            return Outcome(DROP, frame, "malformed")
        total = int.from_bytes(packet[2:4], "big")
        if not (packet[0] & 15) * 4 <= total <= len(packet):
            return Outcome(DROP, frame, "malformed")
        if packet[0] & 15 > 5:
            return Outcome(PASS, frame, "options")
        if self._verify and ones_sum(packet[:20]) != 0xFFFF:
            return Outcome(DROP, frame, "bad checksum")
        destination = IPv4Address(packet[16:20])
        hop_or_reason = self._hop(destination, packet[8], total)
        if isinstance(hop_or_reason, str):
            return refused(frame, hop_or_reason)
        header = bytearray(packet[:20])
        header[8] -= 1
        if self._verify:
            header[10:12] = bytes(2)
            header[10:12] = struct.pack(">H", 0xFFFF - ones_sum(bytes(header)))
        else:  # RFC 1624, equation 3, whatever the checksum was
            before = int.from_bytes(packet[10:12], "big")
            words = [0xFFFF - before, 0xFFFF - (packet[8] << 8 | packet[9])]
            words.append(header[8] << 8 | header[9])
            total_sum = ones_sum(struct.pack(">3H", *words))
            header[10:12] = struct.pack(">H", 0xFFFF - total_sum)
        return forwarded(frame, hop_or_reason, bytes(header) + packet[20:])

    def _ipv6(self, frame: bytes) -> Outcome:
        packet = frame[ETHERNET:]
        if len(packet) < 40 or packet[0] >> 4 != 6:
            return Outcome(DROP, frame, "malformed")
        size = 40 + int.from_bytes(packet[4:6], "big")
        if size > len(packet):
            return Outcome(DROP, frame, "malformed")
        hop_or_reason = self._hop(IPv6Address(packet[24:40]), packet[7], size)
        if isinstance(hop_or_reason, str):
            return refused(frame, hop_or_reason)
        return forwarded(frame, hop_or_reason, packet[:7] + bytes([packet[7] - 1]) + packet[8:])

    def _hop(self, destination: IPv4Address | IPv6Address, ttl: int, size: int) -> ModelHop | str:
        if any(destination in martian for martian in MARTIANS):
            return "martian"
        if ttl <= 1:
            return "expired"
        hop = self._longest(destination)
        if hop is None:
            return "no route"
        if hop.kind != "forward":
            return hop.kind
        if hop.mac is None:
            return "no neighbour"
        return "too big" if size > hop.mtu else hop

    def _longest(self, address: IPv4Address | IPv6Address) -> ModelHop | None:
        made = IPv4Network if address.version == 4 else IPv6Network
        for length in range(address.max_prefixlen, -1, -1):
            hop = self.hops.get(made((int(address), length), strict=False))
            if hop is not None:
                return hop
        return None


class AskedModel(RouterModel):
    """Somebody else, such as iproute2, was asked about each destination beforehand."""

    def __init__(self, hops: Mapping[IPv4Address | IPv6Address, ModelHop]) -> None:
        super().__init__({})
        self._asked = hops

    def _longest(self, address: IPv4Address | IPv6Address) -> ModelHop | None:
        return self._asked[address]


def destination(frame: bytes) -> IPv4Address | IPv6Address | None:
    """Where a frame wants to go; None when it is too short, or of another kind."""
    if frame[12:14] == b"\x08\x00" and len(frame) >= ETHERNET + 20:
        return IPv4Address(frame[30:34])
    if frame[12:14] == b"\x86\xdd" and len(frame) >= ETHERNET + 40:
        return IPv6Address(frame[38:54])
    return None


def refused(frame: bytes, reason: str) -> Outcome:
    """Nothing is written; a blackhole drops, the kernel sees all else."""
    return Outcome(DROP if reason == "blackhole" else PASS, frame, reason)


def forwarded(frame: bytes, hop: ModelHop, packet: bytes) -> Outcome:
    """Out with new MAC addresses."""
    assert hop.mac is not None
    return Outcome(
        REDIRECT, hop.mac + hop.source_mac + frame[12:14] + packet, f"hop {hop.mac.hex(':')}"
    )


def ones_sum(data: bytes) -> int:
    """RFC 1071: 16-bit one's complement sum of an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
