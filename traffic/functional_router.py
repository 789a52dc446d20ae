# SPDX-License-Identifier: GPL-2.0-only
"""The router's functional stream: what is forwarded, with which bytes, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop, PadN
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from traffic.functional import Case, dropped, forwarded, to_stack
from traffic.functional_scene import NEIGHBOUR_MAC, OUT, Ends, Scene, filled, padded

_SITE = """
[interface."{interface}"]
function = "router"
mode = "{mode}"
[[interface."{interface}".routes]]
prefix = "198.51.100.0/24"
interface = "{out}"
via = "{via}"
[[interface."{interface}".routes]]
prefix = "198.51.100.128/25"
kind = "blackhole"
[[interface."{interface}".routes]]
prefix = "198.51.100.200/32"
interface = "{out}"
via = "{via}"
[[interface."{interface}".routes]]
prefix = "203.0.113.0/24"
kind = "local"
[[interface."{interface}".routes]]
prefix = "2001:db8:99::/48"
interface = "{out}"
via = "{via}"
[[interface."{interface}".routes]]
prefix = "2001:db8:99:dead::/64"
kind = "blackhole"
"""
_FROM, _FROM6 = "192.0.2.1", "2001:db8:1::1"


def scene(ends: Ends, mode: str = "native") -> Scene:
    """The router between ``ends.interface`` and ``ends.out``."""
    site = _SITE.format(interface=ends.interface, out=ends.out, via=NEIGHBOUR_MAC, mode=mode)
    return Scene(
        function="router",
        site=site,
        cases=tuple(_cases(ends)),
        narrow={"lookup": 2, "checksum_update": 1},
    )


def _cases(ends: Ends) -> Iterator[Case]:
    yield from _ipv4(ends)
    yield from _ipv6(ends)
    yield from _kernels(ends)
    yield from _broken(ends)


def _sent_on(ends: Ends, what: str, packet: Packet) -> Case:
    """Forwarded: MAC addresses of the next hop and of the interface, one hop less, and no more."""
    sent = filled(ends.link / packet)
    out = Ether(bytes(sent))
    out.src, out.dst = ends.out_mac, NEIGHBOUR_MAC
    if IP in out:
        out[IP].ttl -= 1
        del out[IP].chksum
    else:
        out[IPv6].hlim -= 1
    return forwarded(what, sent, OUT, out)


def _ipv4(ends: Ends) -> Iterator[Case]:
    def to(address: str, number: int = 0, **fields: Any) -> Packet:
        return IP(src=_FROM, dst=address, id=number, **fields)

    yield _sent_on(ends, "a route", to("198.51.100.7") / UDP(sport=1, dport=2))
    yield _sent_on(ends, "its first address", to("198.51.100.0") / UDP(sport=1, dport=2))
    yield _sent_on(ends, "TCP", to("198.51.100.7") / TCP(sport=1, dport=2))
    yield _sent_on(ends, "a ping", to("198.51.100.7") / ICMP(id=4, seq=5))
    yield _sent_on(ends, "the last TTL that is enough", to("198.51.100.7", ttl=2) / UDP(dport=3))
    yield _sent_on(ends, "the highest TTL", to("198.51.100.7", ttl=255) / UDP(dport=3))
    for number in (0, 1, 0x1234, 0xFFFF):  # checksums that carry
        packet = to("198.51.100.8", number, tos=number & 0xFC) / UDP(sport=number, dport=4)
        yield _sent_on(ends, f"IP id {number}", packet)
    yield _sent_on(ends, "a fragment", to("198.51.100.7", 9, frag=100) / UDP(dport=5))
    yield _sent_on(ends, "a longer prefix inside a hole", to("198.51.100.200") / UDP(dport=6))
    full = filled(ends.link / to("198.51.100.9") / UDP(sport=1, dport=7), 1514)
    yield _sent_on(ends, "as large as the MTU", Ether(bytes(full)).payload)
    yield dropped("a blackhole", filled(ends.link / to("198.51.100.128") / UDP(dport=8)))
    yield dropped("beside the longer prefix", filled(ends.link / to("198.51.100.201") / UDP()))


def _ipv6(ends: Ends) -> Iterator[Case]:
    def to(address: str, **fields: Any) -> Packet:
        return IPv6(src=_FROM6, dst=address, **fields)

    yield _sent_on(ends, "an IPv6 route", to("2001:db8:99::5") / UDP(sport=1, dport=2))
    yield _sent_on(ends, "IPv6, one hop is left", to("2001:db8:99::5", hlim=2) / UDP(dport=3))
    label = to("2001:db8:99::5", tc=3, fl=0xABCDE) / UDP(dport=4)
    yield _sent_on(ends, "traffic class and flow label stay", label)
    hop = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
    yield to_stack(
        "no IPv6 route", filled(ends.link / to("2001:db8:98::5") / hop / UDP(sport=9, dport=5))
    )
    yield dropped("an IPv6 blackhole", filled(ends.link / to("2001:db8:99:dead::5") / UDP(dport=6)))


def _kernels(ends: Ends) -> Iterator[Case]:
    def kernel(what: str, packet: Packet) -> Case:
        return to_stack(what, filled(ends.link / packet))

    def to(address: str, **fields: Any) -> Packet:
        return IP(src=_FROM, dst=address, **fields) / UDP(sport=9, dport=9)

    yield kernel("no route", to("192.0.2.99"))
    yield kernel("a local route", to("203.0.113.5"))
    yield kernel("TTL 1", to("198.51.100.7", ttl=1))
    yield kernel("TTL 0", to("198.51.100.7", ttl=0))
    yield kernel("options", to("198.51.100.7", options=[IPOption_NOP()] * 4))
    yield kernel("multicast", to("224.0.0.5"))
    yield kernel("loopback", to("127.0.0.1"))
    yield kernel("behind a tag", Dot1Q(vlan=5) / to("198.51.100.7"))
    hopless = IPv6(src=_FROM6, dst="2001:db8:99::5", hlim=1) / UDP(dport=9)
    yield kernel("IPv6, no hop is left", hopless)
    yield to_stack(
        "ARP", padded(ends.link / ARP(hwsrc=ends.far_mac, psrc=_FROM, pdst="198.51.100.7"))
    )


def _broken(ends: Ends) -> Iterator[Case]:
    whole = bytes(filled(ends.link / IP(src=_FROM, dst="198.51.100.7") / UDP(dport=10)))
    wrong = bytearray(whole)
    wrong[24] ^= 0x55
    yield dropped("a wrong header checksum", bytes(wrong))
    longer = Ether(whole)
    longer[IP].len = len(whole)
    del longer[IP].chksum
    yield dropped("longer than the frame, it says", longer)
