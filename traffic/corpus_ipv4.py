# SPDX-License-Identifier: GPL-2.0-only
"""Crafted IPv4 packets: every header length, lies in fields, fragments, wrong checksums."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR, IPOption_Timestamp
from scapy.layers.l2 import GRE, Ether
from scapy.layers.sctp import SCTP, SCTPChunkCookieAck
from scapy.packet import Packet, Raw

from traffic.packet_build import DESTINATION_MAC, SOURCE_MAC

Named = tuple[str, bytes]

SOURCE, DESTINATION = "198.18.0.1", "198.19.0.1"
_IP_AT = 14  # offset of the IP header in an untagged frame
_PAYLOAD = Raw(b"payload!")


def ethernet(destination: str = DESTINATION_MAC, **fields: Any) -> Packet:
    """The Ethernet header of every crafted packet.

    Both addresses are always given: scapy would ask this machine's neighbours and routes.
    """
    return Ether(src=SOURCE_MAC, dst=destination, **fields)


@cache
def transports() -> dict[str, Packet]:
    """What IP packets carry, ports 1234 and 80 where there are ports."""
    return {
        "tcp": TCP(sport=1234, dport=80, flags="S") / _PAYLOAD,
        "udp": UDP(sport=1234, dport=80) / _PAYLOAD,
        "sctp": SCTP(sport=1234, dport=80, tag=1) / SCTPChunkCookieAck(),
        "icmp": ICMP(id=7) / _PAYLOAD,
    }


def ipv4(payload: Packet, **fields: Any) -> bytes:
    """A frame with an IPv4 header; scapy fills what ``fields`` leave out."""
    return bytes(ethernet() / IP(**{"src": SOURCE, "dst": DESTINATION, **fields}) / payload)


def crafted_ipv4() -> Iterator[Named]:
    """All IPv4 packets of the corpus."""
    yield from _protocols()
    yield from _header_lengths()
    yield from _total_lengths()
    yield from _checksums()
    yield from _fragments()
    yield from _addresses()
    yield from _small_fields()
    yield from _icmp()


def _protocols() -> Iterator[Named]:
    for name, payload in transports().items():
        yield f"ipv4/{name}", ipv4(payload)
    for number in (0, 2, 4, 41, 43, 44, 46, 47, 50, 51, 58, 59, 60, 89, 103, 115, 136, 253, 255):
        yield f"ipv4/protocol-{number}", ipv4(Raw(bytes(24)), proto=number)
    inner = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / _PAYLOAD
    yield "ipv4/gre", ipv4(GRE() / inner)
    yield "ipv4/gre-key", ipv4(GRE(key_present=1, key=7) / inner)
    yield "ipv4/ipip", ipv4(inner)


def _header_lengths() -> Iterator[Named]:
    """Options of every length; header lengths below 5; other versions."""
    for name in ("tcp", "udp"):
        payload = transports()[name]
        for words in range(5, 16):
            options = [IPOption_NOP()] * ((words - 5) * 4)
            yield f"ipv4/{name}/ihl-{words}", ipv4(payload, options=options)
        for words in (*range(5), 6, 15):
            yield f"ipv4/{name}/false-ihl-{words}", ipv4(payload, ihl=words)
    yield "ipv4/record-route", ipv4(transports()["udp"], options=[IPOption_RR(length=7)])
    yield "ipv4/timestamp", ipv4(transports()["udp"], options=[IPOption_Timestamp()])
    for version in (0, 1, 3, 5, 6, 7, 12, 15):
        yield f"ipv4/version-{version}", ipv4(transports()["tcp"], version=version)
    yield "ipv4/ihl-15-cut", ipv4(Raw(b""), ihl=15)


def _total_lengths() -> Iterator[Named]:
    """A total length that lies; 28 bytes of UDP would be right, and 36 with the payload."""
    for length in (0, 1, 19, 20, 21, 27, 28, 35, 36, 37, 60, 1500, 65535):
        yield f"ipv4/total-length-{length}", ipv4(transports()["udp"], len=length)
    options = [IPOption_NOP()] * 8
    for length in (20, 27, 28, 29):
        frame = ipv4(transports()["udp"], len=length, options=options)
        yield f"ipv4/ihl-7/total-length-{length}", frame
    yield "ipv4/padded", ipv4(UDP(sport=1, dport=2)) + bytes(18)
    yield "ipv4/padded-odd", ipv4(UDP(sport=1, dport=2)) + b"\xff" * 7


def _checksums() -> Iterator[Named]:
    good = ipv4(transports()["tcp"])
    right = int.from_bytes(good[_IP_AT + 10 : _IP_AT + 12])
    for wrong in (0, 0xFFFF, right ^ 1, right ^ 0x8000, (right + 1) & 0xFFFF):
        yield f"ipv4/checksum-{wrong:#06x}", ipv4(transports()["tcp"], chksum=wrong)
    options = [IPOption_NOP()] * 12
    yield "ipv4/ihl-8/checksum-0", ipv4(transports()["udp"], chksum=0, options=options)
    last = bytearray(ipv4(transports()["udp"], options=[IPOption_NOP()] * 40))
    last[_IP_AT + 59] ^= 1  # only the last byte of the options is not as summed
    yield "ipv4/ihl-15/checksum-last-byte", bytes(last)
    # A checksum field of 0x0000 where 0xffff would be equal in one's complement (RFC 1624).
    for ident in range(0x10000):
        frame = _with_ident(good, ident)
        if frame[_IP_AT + 10 : _IP_AT + 12] == b"\x00\x00":
            yield "ipv4/checksum-right-0x0000", frame
            yield "ipv4/checksum-right-0xffff", _replace(frame, _IP_AT + 10, b"\xff\xff")
            break


def _with_ident(frame: bytes, ident: int) -> bytes:
    """``frame`` with another id and the checksum for it (20-byte header)."""
    header = bytearray(frame[_IP_AT : _IP_AT + 20])
    header[4:6] = ident.to_bytes(2)
    header[10:12] = bytes(2)
    total = int.from_bytes(header) % 0xFFFF or 0xFFFF
    header[10:12] = (0xFFFF - total).to_bytes(2)
    return _replace(frame, _IP_AT, bytes(header))


def _replace(frame: bytes, at: int, data: bytes) -> bytes:
    return frame[:at] + data + frame[at + len(data) :]


def _fragments() -> Iterator[Named]:
    places: dict[str, dict[str, Any]] = {
        "first": {"flags": "MF", "frag": 0},
        "second": {"flags": "MF", "frag": 1},
        "middle": {"flags": "MF", "frag": 185},
        "last": {"flags": 0, "frag": 370},
        "largest": {"flags": 0, "frag": 8191},
        "high-bits": {"flags": 0, "frag": 0x1F00},
        "whole-df": {"flags": "DF", "frag": 0},
        "reserved": {"flags": 4, "frag": 0},
        "df-and-mf": {"flags": "DF+MF", "frag": 0},
    }
    for name, payload in transports().items():
        for place, fields in places.items():
            yield f"ipv4/{name}/fragment-{place}", ipv4(payload, **fields)
    for place in ("first", "last"):
        frame = ipv4(Raw(bytes(8)), proto=6, **places[place])
        yield f"ipv4/tcp/fragment-{place}-of-8-bytes", frame
        frame = ipv4(transports()["udp"], options=[IPOption_NOP()] * 8, **places[place])
        yield f"ipv4/udp/ihl-7/fragment-{place}", frame
    yield "ipv4/tcp/fragment-last-empty", ipv4(Raw(b""), proto=6, **places["last"])


def _addresses() -> Iterator[Named]:
    others = ("0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255")
    for address in others:
        yield f"ipv4/from-{address}", ipv4(transports()["udp"], src=address)
        yield f"ipv4/to-{address}", ipv4(transports()["udp"], dst=address)
    yield "ipv4/to-itself", ipv4(transports()["tcp"], dst=SOURCE)
    for mac in ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"):
        packet = ethernet(mac) / IP(src=SOURCE, dst=DESTINATION) / transports()["udp"]
        yield f"ipv4/to-mac-{mac}", bytes(packet)


def _small_fields() -> Iterator[Named]:
    for ttl in (0, 1, 2, 255):
        yield f"ipv4/ttl-{ttl}", ipv4(transports()["udp"], ttl=ttl)
    for tos in (0x01, 0x03, 0xB8, 0xFF):
        yield f"ipv4/tos-{tos:#04x}", ipv4(transports()["udp"], tos=tos)
    yield "ipv4/id-0xffff", ipv4(transports()["udp"], id=0xFFFF)


def _icmp() -> Iterator[Named]:
    inner = IP(src=DESTINATION, dst=SOURCE) / UDP(sport=80, dport=1234)
    for kind, code in ((0, 0), (3, 1), (3, 4), (5, 1), (11, 0), (12, 0), (13, 0), (255, 255)):
        error = kind in (3, 5, 11, 12)
        packet = ICMP(type=kind, code=code) / (inner if error else _PAYLOAD)
        yield f"ipv4/icmp-{kind}-{code}", ipv4(packet)
