# SPDX-License-Identifier: GPL-2.0-only
"""Crafted IPv6 packets: extension headers of every kind, length and order, fragments."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    IPv6,
)
from scapy.layers.sctp import SCTP, SCTPChunkCookieAck
from scapy.packet import Packet, Raw

from traffic.corpus_ipv4 import Named, ethernet

SOURCE, DESTINATION = "2001:2:0:1::1", "2001:2:0:2::1"
_PAYLOAD = Raw(b"payload!")
_IP_AT = 14

HOP_BY_HOP, ROUTING, FRAGMENT, AH, OPTIONS = 0, 43, 44, 51, 60
_NAMES = {HOP_BY_HOP: "hop", ROUTING: "route", FRAGMENT: "frag", AH: "ah", OPTIONS: "opts"}
_LATER = 185 << 3


def ipv6(payload: Packet, **fields: Any) -> bytes:
    """A frame with an IPv6 header; scapy fills what ``fields`` leave out."""
    return bytes(ethernet() / IPv6(**{"src": SOURCE, "dst": DESTINATION, **fields}) / payload)


@cache
def transports() -> dict[str, tuple[int, bytes]]:
    """What IPv6 packets carry: protocol number and bytes, with right checksums."""
    packets: dict[str, Packet] = {
        "tcp": TCP(sport=1234, dport=80, flags="S") / _PAYLOAD,
        "udp": UDP(sport=1234, dport=80) / _PAYLOAD,
        "sctp": SCTP(sport=1234, dport=80, tag=1) / SCTPChunkCookieAck(),
        "icmp": ICMPv6EchoRequest(id=7, data=b"payload!"),
    }
    frames = {name: ipv6(packet) for name, packet in packets.items()}
    return {name: (frame[_IP_AT + 6], frame[_IP_AT + 40 :]) for name, frame in frames.items()}


def extension(kind: int, following: int, *, length: int = 0, fragment: int = 0) -> bytes:
    """One extension header; ``length`` is its length field, ``fragment`` offset and flags."""
    if kind == FRAGMENT:
        return struct.pack("!BBHI", following, length, fragment, 7)
    if kind == AH:
        return bytes((following, length)) + bytes((length + 2) * 4 - 2)
    if kind == ROUTING:  # type 2 (RFC 6275), no segments left
        return bytes((following, length, 2, 0)) + bytes(4 + length * 8)
    pad = length * 8 + 4  # PadN
    return bytes((following, length, 1, pad)) + bytes(pad)


def chain(kinds: Sequence[int], name: str = "udp", *, length: int = 0, fragment: int = 0) -> bytes:
    """A frame with these extension headers before the transport header called ``name``."""
    protocol, data = transports()[name]
    following = (*kinds, protocol)[1:]
    headers = b"".join(
        extension(kind, after, length=2 if kind == AH else length, fragment=fragment)
        for kind, after in zip(kinds, following, strict=True)
    )
    return ipv6(Raw(headers + data), nh=kinds[0] if kinds else protocol)


def crafted_ipv6() -> Iterator[Named]:
    """All IPv6 packets of the corpus."""
    yield from _protocols()
    yield from _single_extensions()
    yield from _chains()
    yield from _lies()
    yield from _fragments()
    yield from _small_fields()


def _protocols() -> Iterator[Named]:
    for name in transports():
        yield f"ipv6/{name}", chain((), name)
    for number in (1, 2, 4, 41, 46, 47, 50, 59, 89, 103, 135, 139, 140, 253, 254, 255):
        yield f"ipv6/protocol-{number}", ipv6(Raw(bytes(24)), nh=number)
    yield "ipv6/icmp-of-ipv4", ipv6(ICMP() / _PAYLOAD, nh=1)
    packets: dict[str, Packet] = {
        "neighbour-solicitation": ICMPv6ND_NS(tgt=DESTINATION),
        "neighbour-advertisement": ICMPv6ND_NA(tgt=DESTINATION),
        "listener-report": ICMPv6MLReport(mladdr="ff02::1"),
        "too-big": ICMPv6PacketTooBig(mtu=1280) / IPv6(src=DESTINATION, dst=SOURCE) / UDP(),
    }
    for name, packet in packets.items():
        yield f"ipv6/{name}", ipv6(packet, hlim=255)


def _single_extensions() -> Iterator[Named]:
    """Each kind before each transport, and longer ones before UDP."""
    for kind, label in _NAMES.items():
        for name in transports():
            yield f"ipv6/{label}/{name}", chain((kind,), name)
        yield f"ipv6/{label}/no-next", ipv6(Raw(extension(kind, 59)), nh=kind)
    protocol, data = transports()["udp"]
    for kind in (HOP_BY_HOP, ROUTING, OPTIONS, AH):
        for length in (1, 2, 3, 4, 5, 31):
            headers = extension(kind, protocol, length=length)
            yield f"ipv6/{_NAMES[kind]}/length-{length}", ipv6(Raw(headers + data), nh=kind)
    for routing_type in (0, 3, 4, 255):
        header = bytearray(extension(ROUTING, protocol))
        header[2] = routing_type
        yield f"ipv6/route/type-{routing_type}", ipv6(Raw(bytes(header) + data), nh=ROUTING)


def _chains() -> Iterator[Named]:
    """Chains up to one more than anybody walks, of one kind, in order, and mixed."""
    for kind, label in _NAMES.items():
        for count in range(2, 9):
            yield f"ipv6/{count}-{label}", chain((kind,) * count)
    usual = (HOP_BY_HOP, OPTIONS, ROUTING, FRAGMENT, AH, OPTIONS, OPTIONS, OPTIONS)
    for count in range(2, 9):
        for name in ("tcp", "udp"):
            yield f"ipv6/usual-{count}/{name}", chain(usual[:count], name)
        yield f"ipv6/reversed-{count}", chain(usual[:count][::-1])
        yield f"ipv6/usual-{count}/longer", chain(usual[:count], length=1)


def _lies() -> Iterator[Named]:
    """Length fields that point past the frame, or are smaller than what follows."""
    protocol, data = transports()["udp"]
    for kind in (HOP_BY_HOP, ROUTING, OPTIONS, AH):
        for length in (1, 2, 3, 4, 5, 6, 100, 255):
            header = bytearray(extension(kind, protocol))
            header[1] = length
            yield (
                f"ipv6/{_NAMES[kind]}/false-length-{length}",
                ipv6(Raw(bytes(header) + data), nh=kind),
            )
    for length in (0, 1, 7, 8, 15, 16, 17, 1460, 65535):
        yield f"ipv6/payload-length-{length}", ipv6(UDP(sport=1, dport=2) / _PAYLOAD, plen=length)
    for version in (0, 4, 5, 7, 15):
        yield f"ipv6/version-{version}", ipv6(UDP(sport=1, dport=2) / _PAYLOAD, version=version)
    yield "ipv6/padded", chain(()) + bytes(13)


def _fragments() -> Iterator[Named]:
    """Offset 0 with and without more, later ones, reserved bits, and headers around."""
    places = {
        "atomic": 0, "first": 1, "second": 1 << 3 | 1, "middle": _LATER | 1, "last": _LATER,
        "largest": 0xFFF8, "reserved": 6,
    }  # fmt: skip
    for place, value in places.items():
        for name in transports():
            yield f"ipv6/{name}/fragment-{place}", chain((FRAGMENT,), name, fragment=value)
    for before in range(1, 7):
        kinds = (OPTIONS,) * before + (FRAGMENT,)
        yield f"ipv6/{before}-opts-then-last", chain(kinds, fragment=_LATER)
    yield "ipv6/last-then-opts", chain((FRAGMENT, OPTIONS), fragment=_LATER)
    yield "ipv6/last-of-frag", chain((FRAGMENT, FRAGMENT), fragment=_LATER)
    yield "ipv6/first-then-7-opts", chain((FRAGMENT,) + (OPTIONS,) * 7, fragment=1)
    for place in ("first", "last"):
        header = extension(FRAGMENT, 6, fragment=places[place])
        for size in (0, 8):
            name = f"ipv6/tcp/fragment-{place}-of-{size}-bytes"
            yield name, ipv6(Raw(header + bytes(size)), nh=FRAGMENT)


def _small_fields() -> Iterator[Named]:
    udp = UDP(sport=1, dport=2) / _PAYLOAD
    for address in ("::", "::1", "::ffff:198.18.0.1", "fe80::1", "ff02::1", "2002:c612:1::1"):
        yield f"ipv6/from-{address}", ipv6(udp, src=address)
        yield f"ipv6/to-{address}", ipv6(udp, dst=address)
    for hop_limit in (0, 1, 255):
        yield f"ipv6/hop-limit-{hop_limit}", ipv6(udp, hlim=hop_limit)
    yield "ipv6/traffic-class-0xff", ipv6(udp, tc=0xFF)
    yield "ipv6/flow-label-0xfffff", ipv6(udp, fl=0xFFFFF)
    yield "ipv6/no-udp-checksum", ipv6(UDP(sport=1, dport=2, chksum=0) / _PAYLOAD)
