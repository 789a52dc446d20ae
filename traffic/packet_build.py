# SPDX-License-Identifier: GPL-2.0-only
"""Frames of a flow, fast: scapy builds one template per shape, the rest is patched in.

scapy takes 0.2-1 ms per packet; a patched copy of a template takes a few microseconds. Every
checksum (IPv4, TCP, UDP, ICMP, ICMPv6, SCTP) is computed anew after patching.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkCookieAck, crc32c
from scapy.packet import Packet, Raw

from iridescent_xdp.errors import TrafficError

MIN_FRAME_BYTES = 14  # an Ethernet header; the kernel refuses shorter test runs
MAX_FRAME_BYTES = 1514  # MTU 1500 and the Ethernet header, without FCS

# Locally administered, so no real station answers.
SOURCE_MAC = "02:00:00:00:00:01"
DESTINATION_MAC = "02:00:00:00:00:02"

ICMP_V4, TCP_PROTOCOL, UDP_PROTOCOL, ICMP_V6, SCTP_PROTOCOL = 1, 6, 17, 58, 132
PORT_PROTOCOLS = frozenset({TCP_PROTOCOL, UDP_PROTOCOL, SCTP_PROTOCOL})
IPV6_EXTENSIONS = frozenset({0, 43, 44, 51, 60})  # hop-by-hop, routing, fragment, AH, options
TCP_ACK = 0x10

Family = Literal[4, 6]
Fragment = Literal["whole", "first", "later"]

_LATER_OFFSET = 185  # in units of 8 bytes: the second fragment at an MTU of 1500
_PATTERN = bytes(range(256)) * 6
_CHECKSUM_AT = {TCP_PROTOCOL: 16, UDP_PROTOCOL: 6, SCTP_PROTOCOL: 8}


@dataclass(frozen=True, kw_only=True)
class Flow:
    """What identifies a flow; addresses as integers, ports of TCP, UDP and SCTP only."""

    family: Family
    source: int
    destination: int
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    tcp_flags: int = TCP_ACK

    @property
    def has_ports(self) -> bool:
        """Whether the protocol has ports (in a whole packet or a first fragment)."""
        return self.protocol in PORT_PROTOCOLS

    @property
    def is_packet(self) -> bool:
        """False when only a later fragment can be of this flow.

        An extension header of IPv6 is never what a whole packet carries.
        """
        return self.family == 4 or self.protocol not in IPV6_EXTENSIONS


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What surrounds a flow's headers.

    ``options_bytes`` is the length of the IPv4 options (a multiple of 4, at most 40) or of an
    IPv6 hop-by-hop header (a multiple of 8). ``size_bytes`` is the frame's length without FCS;
    headers that need more make a longer frame. A later fragment keeps the flow's ports where
    the ports of a whole packet are, so that code which reads them by mistake is found out.
    """

    tags: int = 0
    options_bytes: int = 0
    fragment: Fragment = "whole"
    size_bytes: int = 60


@dataclass(frozen=True)
class _Template:
    data: bytes
    network: int  # offset of the IP header
    transport: int  # offset of what follows the IP and extension headers


def frame(flow: Flow, shape: Shape, ident: int = 0) -> bytes:
    """One frame of ``flow``; ``ident`` goes into the IPv4 id or IPv6 flow label (16 bits)."""
    template = _template(flow.family, flow.protocol, shape)
    data = bytearray(template.data)
    if flow.family == 4:
        _patch_ipv4(data, template.network, flow, ident)
    else:
        _patch_ipv6(data, template.network, flow, ident)
    _patch_transport(data, template.transport, flow, ident)
    return bytes(data)


def checksum(total: int) -> int:
    """The Internet checksum (RFC 1071) of a non-zero big-endian number of whole words.

    2^16 is congruent to 1 modulo 65535, so the one's complement sum is a remainder.
    """
    return 0xFFFF - (total % 0xFFFF or 0xFFFF)


def _patch_ipv4(data: bytearray, at: int, flow: Flow, ident: int) -> None:
    struct.pack_into("!H", data, at + 4, ident & 0xFFFF)
    struct.pack_into("!HII", data, at + 10, 0, flow.source, flow.destination)
    header = data[at : at + (data[at] & 15) * 4]
    struct.pack_into("!H", data, at + 10, checksum(int.from_bytes(header)))


def _patch_ipv6(data: bytearray, at: int, flow: Flow, ident: int) -> None:
    struct.pack_into("!H", data, at + 2, ident & 0xFFFF)
    data[at + 8 : at + 24] = flow.source.to_bytes(16)
    data[at + 24 : at + 40] = flow.destination.to_bytes(16)


def _patch_transport(data: bytearray, at: int, flow: Flow, ident: int) -> None:
    if flow.has_ports:
        struct.pack_into("!HH", data, at, flow.source_port, flow.destination_port)
    if flow.protocol == TCP_PROTOCOL:
        data[at + 13] = flow.tcp_flags
    if _is_echo(flow):
        struct.pack_into("!H", data, at + 4, ident & 0xFFFF)
    offset = 2 if _is_echo(flow) else _CHECKSUM_AT.get(flow.protocol)
    if offset is None:
        return
    if flow.protocol == SCTP_PROTOCOL:
        struct.pack_into("!I", data, at + offset, 0)
        struct.pack_into("!I", data, at + offset, _sctp_checksum(data[at:]))
        return
    struct.pack_into("!H", data, at + offset, 0)
    struct.pack_into("!H", data, at + offset, _transport_checksum(flow, data[at:]))


def _transport_checksum(flow: Flow, segment: bytearray) -> int:
    total = int.from_bytes(segment) << (8 if len(segment) % 2 else 0)
    if flow.protocol != ICMP_V4:
        total += flow.source + flow.destination + flow.protocol + len(segment)
    value = checksum(total)
    return 0xFFFF if flow.protocol == UDP_PROTOCOL and not value else value  # 0 means none


def _sctp_checksum(segment: bytearray) -> int:
    value: int = crc32c(bytes(segment))  # type: ignore[no-untyped-call]
    return value


def _is_echo(flow: Flow) -> bool:
    return flow.protocol == (ICMP_V4 if flow.family == 4 else ICMP_V6)


@lru_cache(maxsize=4096)
def _template(family: Family, protocol: int, shape: Shape) -> _Template:
    link = _link(shape.tags)
    network = _network(family, protocol, shape)
    transport = _transport(family, protocol)
    head, body = len(link), len(link / network)
    room = shape.size_bytes - body - len(transport)
    if shape.size_bytes > MAX_FRAME_BYTES:
        raise TrafficError(
            f"a frame has at most {MAX_FRAME_BYTES} bytes, got size_bytes={shape.size_bytes}",
            cure=f"use sizes up to {MAX_FRAME_BYTES}",
        )
    payload = Raw(_PATTERN[: max(room, 0)])
    return _Template(bytes(link / network / transport / payload), head, body)


def _link(tags: int) -> Packet:
    """Ethernet with 0, 1 (802.1Q) or 2 (802.1ad, then 802.1Q) tags, or more of the latter."""
    link: Packet = Ether(src=SOURCE_MAC, dst=DESTINATION_MAC)
    for tag in range(tags):
        outer = tag == 0 and tags > 1
        link = link / (Dot1AD(vlan=100) if outer else Dot1Q(vlan=200 + tag))
    return link


def _network(family: Family, protocol: int, shape: Shape) -> Packet:
    offset = _LATER_OFFSET if shape.fragment == "later" else 0
    more = int(shape.fragment == "first")
    if family == 4:
        options = [IPOption_NOP() for _ in range(shape.options_bytes)]
        ip: Packet = IP(
            proto=protocol, flags=more, frag=offset, options=options, src="0.0.0.1", dst="0.0.0.2"
        )
        return ip
    chain: list[Packet] = []
    if shape.options_bytes:
        pad = PadN(optdata=bytes(shape.options_bytes - 4))
        chain.append(IPv6ExtHdrHopByHop(options=[pad], autopad=0))
    if shape.fragment != "whole":
        chain.append(IPv6ExtHdrFragment(offset=offset, m=more))
    return _chain(IPv6(src="::1", dst="::2"), chain, protocol)


def _chain(head: Packet, chain: list[Packet], protocol: int) -> Packet:
    """``head`` and its extension headers, the last one announcing ``protocol``."""
    packet = head
    for header in chain:
        packet = packet / header
    packet.lastlayer().nh = protocol
    return packet


def _transport(family: Family, protocol: int) -> Packet:
    if protocol == TCP_PROTOCOL:
        return TCP(seq=1, ack=1, chksum=0)
    if protocol == UDP_PROTOCOL:
        return UDP(chksum=0)
    if protocol == SCTP_PROTOCOL:
        return SCTP(tag=1, chksum=0) / SCTPChunkCookieAck()
    if protocol == (ICMP_V4 if family == 4 else ICMP_V6):
        return ICMP(chksum=0) if family == 4 else ICMPv6EchoRequest(cksum=0)
    return Raw(_PATTERN[:8])
