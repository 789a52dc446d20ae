# SPDX-License-Identifier: GPL-2.0-only
"""Crafted packets: what every function has to survive, whatever it does."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from itertools import product

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Dot3
from scapy.layers.sctp import SCTP, SCTPChunkCookieAck
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from traffic import corpus_ipv4, corpus_ipv6
from traffic.corpus_ipv4 import Named, crafted_ipv4, ethernet, ipv4
from traffic.corpus_ipv6 import crafted_ipv6, ipv6
from traffic.packet_build import DESTINATION_MAC, MAX_FRAME_BYTES, MIN_FRAME_BYTES, SOURCE_MAC

_PAYLOAD = Raw(b"payload!")
_TAGS = {0x8100: Dot1Q, 0x88A8: Dot1AD}
_EDGE_PORTS = (0, 1, 1023, 1024, 0x7FFF, 0x8000, 0xFF00, 0xFFFF)


@cache
def crafted() -> tuple[Named, ...]:
    """All crafted packets as (name, frame); names and frames are unique, 14 to 1514 bytes."""
    frames: dict[bytes, str] = {}
    for part in (_link(), crafted_ipv4(), crafted_ipv6(), _transport(), _sizes(), _tunnels()):
        for name, frame in part:
            if MIN_FRAME_BYTES <= len(frame) <= MAX_FRAME_BYTES:
                frames.setdefault(frame, name)
    return tuple((name, frame) for frame, name in frames.items())


@cache
def stacks() -> tuple[Named, ...]:
    """One packet for each stack of headers: what is cut at every length, and mutated."""
    tcp, udp = corpus_ipv4.transports()["tcp"], corpus_ipv4.transports()["udp"]
    names = (
        "ipv4/tcp", "ipv4/udp", "ipv4/sctp", "ipv4/icmp", "ipv4/tcp/ihl-15", "ipv4/udp/ihl-7",
        "ipv4/tcp/fragment-first", "ipv4/udp/fragment-last", "ipv4/gre", "ipv4/ipip",
        "ipv6/tcp", "ipv6/udp", "ipv6/sctp", "ipv6/icmp", "ipv6/hop/tcp", "ipv6/ah/udp",
        "ipv6/udp/fragment-first", "ipv6/udp/fragment-last", "ipv6/usual-6/tcp",
        "ipv6/hop/length-2", "ipv6/ah/length-3", "gue/ipv4", "vxlan", "link/arp-request",
    )  # fmt: skip
    tagged: tuple[tuple[str, Packet], ...] = (
        ("vlan/ipv4/tcp", ethernet() / Dot1Q(vlan=1) / _ip4() / tcp),
        ("vlan/ipv6/udp", ethernet() / Dot1Q(vlan=1) / _ip6() / udp),
        ("qinq/ipv4/udp", ethernet() / Dot1AD(vlan=1) / Dot1Q(vlan=2) / _ip4() / udp),
        ("qinq/ipv6/tcp", ethernet() / Dot1AD(vlan=1) / Dot1Q(vlan=2) / _ip6() / tcp),
        ("3-tags/ipv4/udp", ethernet() / Dot1AD() / Dot1AD() / Dot1Q() / _ip4() / udp),
    )
    known = dict(crafted())
    plain = tuple((name, known[name]) for name in names)
    return plain + tuple((name, bytes(packet)) for name, packet in tagged)


def _ip4() -> Packet:
    packet: Packet = IP(src=corpus_ipv4.SOURCE, dst=corpus_ipv4.DESTINATION)
    return packet


def _ip6() -> Packet:
    packet: Packet = IPv6(src=corpus_ipv6.SOURCE, dst=corpus_ipv6.DESTINATION)
    return packet


def _arp(operation: int) -> Packet:
    packet: Packet = ARP(
        op=operation,
        hwsrc=SOURCE_MAC,
        psrc=corpus_ipv4.SOURCE,
        hwdst="00:00:00:00:00:00" if operation == 1 else DESTINATION_MAC,
        pdst=corpus_ipv4.DESTINATION,
    )
    return packet


def _link() -> Iterator[Named]:
    request, reply = _arp(1), _arp(2)
    yield "link/arp-request", bytes(ethernet("ff:ff:ff:ff:ff:ff") / request)
    yield "link/arp-reply", bytes(ethernet() / reply)
    lldp = bytes.fromhex("0207040200000000010403026531060200780000")
    yield "link/lldp", bytes(ethernet("01:80:c2:00:00:0e", type=0x88CC) / Raw(lldp))
    yield (
        "link/802.3",
        bytes(
            Dot3(dst="01:80:c2:00:00:00", src=SOURCE_MAC) / Raw(bytes.fromhex("424203") + bytes(35))
        ),
    )
    ethertypes = (0, 0x05DC, 0x0600, 0x0801, 0x86DC, 0x8847, 0x8863, 0x8864, 0x88F7, 0x9100, 0xFFFF)
    for ethertype in ethertypes:
        yield f"link/type-{ethertype:#06x}", bytes(ethernet(type=ethertype) / Raw(bytes(46)))
    for ethertype in (0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8):
        yield f"link/only-type-{ethertype:#06x}", bytes(ethernet())[:12] + ethertype.to_bytes(2)
        yield f"link/zeros-{ethertype:#06x}", bytes(ethernet(type=ethertype) / Raw(bytes(60)))
    yield "link/ipv6-called-ipv4", bytes(ethernet(type=0x0800) / _ip6() / UDP() / _PAYLOAD)
    yield "link/ipv4-called-ipv6", bytes(ethernet(type=0x86DD) / _ip4() / TCP() / _PAYLOAD)
    yield from _tags()


def _tags() -> Iterator[Named]:
    """Every order of one, two and three tags before IPv4, and some before other things."""
    for count in (1, 2, 3):
        for kinds in product(_TAGS, repeat=count):
            packet = ethernet()
            for number, kind in enumerate(kinds):
                packet = packet / _TAGS[kind](vlan=number + 1)
            name = "+".join(f"{kind:x}" for kind in kinds)
            yield f"vlan/{name}/ipv4", bytes(packet / _ip4() / TCP(dport=80))
            yield f"vlan/{name}/ipv6", bytes(packet / _ip6() / UDP(dport=53))
            yield f"vlan/{name}/arp", bytes(packet / _arp(1))
            yield f"vlan/{name}/unknown", bytes(packet / Raw(bytes(46)))
    udp = _ip4() / UDP(dport=53)
    for vlan, priority, dei in ((0, 0, 0), (4095, 7, 1), (1, 7, 0), (1, 0, 1)):
        tag = Dot1Q(vlan=vlan, prio=priority, dei=dei)
        yield f"vlan/{vlan}-{priority}-{dei}", bytes(ethernet() / tag / udp)
    yield "vlan/802.3-inside", bytes(ethernet() / Dot1Q(type=38) / Raw(bytes(38)))
    for tags in (1, 2):
        packet = ethernet()
        for _ in range(tags):
            packet = packet / Dot1Q(vlan=1)
        options = IP(src="1.1.1.1", dst="2.2.2.2", options=b"\x01" * 8) / TCP(dport=80)
        later = IP(src="1.1.1.1", dst="2.2.2.2", frag=100, proto=17) / Raw(bytes(16))
        yield f"vlan/{tags}-tags/options", bytes(packet / options)
        yield f"vlan/{tags}-tags/later-fragment", bytes(packet / later)


def _transport() -> Iterator[Named]:
    """Ports at their edges, TCP flags, and header fields that lie."""
    for name, build in (("ipv4", ipv4), ("ipv6", ipv6)):
        for source, destination in product(_EDGE_PORTS, _EDGE_PORTS):
            if source in (1, 0xFFFF) or destination in (0, 0x8000):
                udp = UDP(sport=source, dport=destination) / _PAYLOAD
                yield f"{name}/udp/ports-{source}-{destination}", build(udp)
        for port in _EDGE_PORTS:
            yield f"{name}/tcp/ports-{port}", build(TCP(sport=port, dport=port))
            sctp = SCTP(sport=port, dport=port) / SCTPChunkCookieAck()
            yield f"{name}/sctp/ports-{port}", build(sctp)
        single = tuple(1 << bit for bit in range(8))
        for flags in (*single, 0, 0x03, 0x05, 0x11, 0x12, 0x14, 0x18, 0x29, 0x3F, 0xC2, 0xFF):
            yield f"{name}/tcp/flags-{flags:#04x}", build(TCP(sport=1, dport=2, flags=flags))
        for words in (0, 1, 4, 6, 15):
            yield f"{name}/tcp/data-offset-{words}", build(TCP(dataofs=words) / _PAYLOAD)
        for length in (0, 7, 8, 9, 65535):
            yield f"{name}/udp/length-{length}", build(UDP(len=length) / _PAYLOAD)
        for wrong in (0, 0xFFFF, 0x1234):
            yield f"{name}/udp/checksum-{wrong:#x}", build(UDP(chksum=wrong) / _PAYLOAD)
            yield f"{name}/tcp/checksum-{wrong:#x}", build(TCP(chksum=wrong) / _PAYLOAD)
        options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None)]
        yield f"{name}/tcp/options", build(TCP(flags="S", options=options))


def _sizes() -> Iterator[Named]:
    for size in (0, 1, 2, 3, 4, 5, 7, 17, 18, 19, 100, 511, 512, 1000, 1400, 1452, 1472):
        payload = Raw(bytes(index & 0xFF for index in range(size)))
        yield f"ipv4/udp/payload-{size}", ipv4(UDP(sport=1, dport=2) / payload)
        yield f"ipv6/udp/payload-{size}", ipv6(UDP(sport=1, dport=2) / payload)
    yield "ipv4/tcp/largest", ipv4(TCP() / Raw(b"\xff" * 1460))


def _tunnels() -> Iterator[Named]:
    inner = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / _PAYLOAD
    inner6 = IPv6(src="fd00::1", dst="fd00::2") / TCP(sport=1, dport=2)
    frame = ethernet() / inner
    # GUE (draft-ietf-intarea-gue): version, control and length; protocol; flags.
    gue = {"gue/ipv4": (struct.pack("!BBH", 0, 4, 0), inner), "gue/ipv6": (b"\0\x29\0\0", inner6)}
    for name, (header, packet) in gue.items():
        yield name, ipv4(UDP(sport=7, dport=6080) / Raw(header + bytes(packet)))
        yield f"{name}/over-ipv6", ipv6(UDP(sport=7, dport=6080) / Raw(header + bytes(packet)))
    yield "gue/direct-ipv4", ipv4(UDP(dport=6080) / Raw(bytes(inner)))
    yield "gue/control", ipv4(UDP(dport=6080) / Raw(b"\x20\x01\0\0" + bytes(8)))
    yield "vxlan", ipv4(UDP(dport=4789) / VXLAN(vni=7) / frame)
    yield "geneve", ipv4(UDP(dport=6081) / Raw(b"\0\0\x65\x58\0\0\7\0" + bytes(frame)))
    yield "gtp-u", ipv4(UDP(dport=2152) / Raw(b"\x30\xff\0\x24\0\0\0\1" + bytes(inner)))
    yield "6in4", ipv4(inner6)
    yield "4in6", ipv6(inner)
    yield "6in6", ipv6(inner6)
    yield "wireguard", ipv4(UDP(dport=51820) / Raw(b"\4\0\0\0" + bytes(28)))
