# SPDX-License-Identifier: GPL-2.0-only
"""What the filter does with a whole frame, said again in plain Python.

An independent model, from the documented semantics: it shares nothing with the C template nor
with the packet builders; the rules are matched by ``filter_model``.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from iridescent_xdp.functions.rules import Network, Rule
from tests.unit.filter_model import PacketKey, first_match

Verdict = Literal["pass", "drop"]
Fragments = Literal["match", "pass", "drop"]
Decision = tuple[int, Verdict]

DEFAULT, ALLOW_SET, DENY_SET, NOT_IP, MALFORMED, BAD_CHECKSUM, FRAGMENT = range(1024, 1031)

TAGS = (0x8100, 0x88A8)
MOST_TAGS = 2
MOST_EXTENSIONS = 6
TRANSPORT_BYTES = {6: 20, 17: 8, 132: 12}


class DecidedError(Exception):
    """The frame is decided before any rule is looked at."""

    def __init__(self, slot: int, verdict: Verdict) -> None:
        super().__init__(slot, verdict)
        self.decision: Decision = (slot, verdict)


class MalformedError(DecidedError):
    """The frame is cut, or contradicts itself."""

    def __init__(self) -> None:
        super().__init__(MALFORMED, "drop")


@dataclass(frozen=True, kw_only=True)
class IpPacket:
    """What the IP header and its extensions say; ``rest`` is what follows them."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    later_fragment: bool
    rest: bytes


def classify(
    frame: bytes,
    rules: Sequence[Rule],
    *,
    allow: Collection[Network] = (),
    deny: Collection[Network] = (),
    default_action: Verdict = "pass",
    non_ip: Verdict = "pass",
    fragments: Fragments = "match",
    verify_ip_checksum: bool = False,
) -> Decision:
    """The slot that counts the frame, and its verdict. The frame has 14 bytes or more."""
    if len(frame) < 14:
        raise ValueError(f"a frame has at least 14 bytes, got {len(frame)}")
    try:
        packet = parse(frame, non_ip, verify_ip_checksum)
        if packet.later_fragment and fragments != "match":
            return FRAGMENT, fragments
        key = key_of(packet)
    except DecidedError as decided:
        return decided.decision
    if any(key.source in network for network in allow):
        return ALLOW_SET, "pass"
    if any(key.source in network for network in deny):
        return DENY_SET, "drop"
    index = first_match(rules, key)
    return (DEFAULT, default_action) if index is None else (index, rules[index].action)


def parse(frame: bytes, non_ip: Verdict, verify_ip_checksum: bool) -> IpPacket:
    """Through the Ethernet header, up to two tags, and the IP header."""
    (ethertype,) = struct.unpack_from("!H", frame, 12)
    rest = frame[14:]
    for _ in range(MOST_TAGS):
        if ethertype in TAGS:
            (ethertype,) = struct.unpack("!2xH", head(rest, 4))
            rest = rest[4:]
    if ethertype == 0x0800:
        return parse_ipv4(rest, verify_ip_checksum)
    if ethertype == 0x86DD:
        return parse_ipv6(rest)
    raise DecidedError(NOT_IP, non_ip)


def parse_ipv4(data: bytes, verify_checksum: bool) -> IpPacket:
    """An IPv4 header with its options."""
    first, total_length, fragment, protocol, source, destination = struct.unpack(
        "!BxHxxHxBxx4s4s", head(data, 20)
    )
    length = (first & 0x0F) * 4
    if first >> 4 != 4 or length < 20 or total_length < length:
        raise MalformedError
    header = head(data, length)
    if verify_checksum and ones_complement_sum(header) != 0xFFFF:
        raise DecidedError(BAD_CHECKSUM, "drop")
    return IpPacket(
        source=IPv4Address(source),
        destination=IPv4Address(destination),
        protocol=protocol,
        later_fragment=fragment & 0x1FFF != 0,
        rest=data[length:],
    )


def parse_ipv6(data: bytes) -> IpPacket:
    """An IPv6 header and at most six extension headers, up to a later fragment's."""
    first, following, source, destination = struct.unpack("!B5xBx16s16s", head(data, 40))
    if first >> 4 != 6:
        raise MalformedError
    rest, later, walked = data[40:], False, 0
    while following in (0, 43, 44, 51, 60) and not later:
        walked += 1
        if walked > MOST_EXTENSIONS:
            raise MalformedError
        size = extension_size(following, rest)
        if following == 44:
            later = struct.unpack_from("!H", head(rest, size), 2)[0] >> 3 != 0
        following, rest = head(rest, size)[0], rest[size:]
    return IpPacket(
        source=IPv6Address(source),
        destination=IPv6Address(destination),
        protocol=following,
        later_fragment=later,
        rest=rest,
    )


def extension_size(kind: int, data: bytes) -> int:
    """The size in bytes of an extension header: RFC 8200, for AH RFC 4302."""
    if kind == 44:
        return 8
    length = head(data, 2)[1]
    return (length + 2) * 4 if kind == 51 else (length + 1) * 8


def key_of(packet: IpPacket) -> PacketKey:
    """Addresses and protocol; ports and flags unless this is a later fragment."""
    size = 0 if packet.later_fragment else TRANSPORT_BYTES.get(packet.protocol, 0)
    transport = head(packet.rest, size)
    ports = struct.unpack_from("!HH", transport) if size else (0, 0)
    return PacketKey(
        source=packet.source,
        destination=packet.destination,
        protocol=packet.protocol,
        source_port=ports[0],
        destination_port=ports[1],
        tcp_flags=transport[13] if size and packet.protocol == 6 else 0,
        has_ports=size > 0,
    )


def head(data: bytes, size: int) -> bytes:
    """The first ``size`` bytes; a frame that is cut before is malformed."""
    if len(data) < size:
        raise MalformedError
    return data[:size]


def ones_complement_sum(header: bytes) -> int:
    """RFC 1071: 0xffff over a header with a right checksum."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
