# SPDX-License-Identifier: GPL-2.0-only
"""A rule list, and the parts from which test packets are built with scapy."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any, NamedTuple

from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkCookieAck
from scapy.packet import Packet

from iridescent_xdp.functions.rules import Rule

RULES = (
    Rule(source=ip_network("10.0.0.0/8"), protocol=17, destination_ports=(53, 53), action="drop"),
    Rule(destination=ip_network("192.0.2.0/24"), action="pass"),
    Rule(protocol=6, tcp_flags=(0x12, 0x02), action="drop"),
    Rule(source_ports=(1000, 2000), action="pass"),
    Rule(source=ip_network("2001:db8::/32"), action="drop"),
    Rule(protocol=1, action="drop"),
    Rule(destination_ports=(0, 65535), protocol=132, action="drop"),
    Rule(destination_ports=(7000, 7999), tcp_flags=(0x01, 0x01), action="drop"),
    Rule(protocol=50, action="drop"),
    Rule(source=ip_network("100.64.0.1/32"), destination_ports=(0, 65535), action="drop"),
)
(
    DNS_DROP, TO_TEST_NET, SYN, SOURCE_PORTS, FROM_DOC6, ICMP_DROP, ANY_SCTP, FIN, ESP, ANY_PORT,
) = range(len(RULES))  # fmt: skip


class Row(NamedTuple):
    description: str
    packet: Packet | bytes
    slot: int
    verdict: str
    policy: Mapping[str, Any] = MappingProxyType({})


def ether(**fields: Any) -> Packet:
    return Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", **fields)


def ip(source: str = "198.51.100.1", destination: str = "203.0.113.1", **fields: Any) -> Packet:
    return IP(src=source, dst=destination, **fields)


def ip6(source: str = "2001:2::1", destination: str = "2001:2::2", **fields: Any) -> Packet:
    return IPv6(src=source, dst=destination, **fields)


def tcp(flags: str = "A", **fields: Any) -> Packet:
    return TCP(**{"sport": 40000, "dport": 443, "flags": flags, **fields})


def udp(**fields: Any) -> Packet:
    return UDP(**{"sport": 40000, "dport": 443, **fields})


def cut(packet: Packet, length: int) -> bytes:
    data = bytes(packet)
    assert length < len(data)
    return data[:length]


def patched(packet: Packet, at: int, value: int) -> bytes:
    data = bytearray(bytes(packet))
    data[at] = value
    return bytes(data)


def options6(count: int, last: Packet) -> Packet:
    packet = ip6()
    for _ in range(count):
        packet = packet / IPv6ExtHdrDestOpt()
    return ether() / packet / last


def sctp(**fields: Any) -> Packet:
    return SCTP(**{"sport": 40000, "dport": 443, "tag": 1, **fields}) / SCTPChunkCookieAck()


def fragment6(offset: int, more: int, rest: Packet, protocol: int) -> Packet:
    return ether() / ip6() / IPv6ExtHdrFragment(offset=offset, m=more, nh=protocol) / rest


DNS = ip("10.1.2.3") / udp(dport=53)
LATER: dict[str, Any] = {"flags": 0, "frag": 185}
OPTIONS: dict[str, Any] = {"options": [IPOption_NOP()] * 40}
CHECKED = {"verify_ip_checksum": True}
DROP = "drop"
PASS = "pass"
PASS_FRAGMENTS, DROP_FRAGMENTS = {"fragments": "pass"}, {"fragments": "drop"}
SYN_BYTES = bytes(tcp("S", chksum=0))
NET = {ip_network("10.0.0.0/8"), ip_network("2001:2::/64")}
