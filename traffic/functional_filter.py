# SPDX-License-Identifier: GPL-2.0-only
"""The packet filter's functional stream: rules, sets and all that README's table promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkCookieEcho
from scapy.packet import Packet, Raw

from traffic.functional import Case, dropped, to_stack
from traffic.functional_scene import Ends, Scene, filled, padded

TO = "203.0.113.9"
TO6 = "2001:db8:9::1"

_SITE = """
[interface."{interface}"]
function = "filter"
mode = "{mode}"
[interface."{interface}".policy]
default_action = "pass"
verify_ip_checksum = true
[interface."{interface}".sets]
allow = ["198.51.100.1/32"]
deny = ["198.51.100.0/24", "2001:db8:d::/48"]
"""
_RULES: tuple[dict[str, object], ...] = (
    {"source": "10.9.0.0/16", "protocol": "tcp", "tcp_flags": ["syn", "!ack"], "action": "drop"},
    {"protocol": "udp", "destination_port": 53, "action": "pass"},
    {"source": "10.9.0.0/16", "protocol": "udp", "action": "drop"},
    {"protocol": "tcp", "destination_port": "6000-6063", "action": "drop"},
    {"source": "2001:db8:6::/48", "protocol": "udp", "source_port": 123, "action": "drop"},
    {"protocol": "icmp", "action": "drop"},
    {"destination": "192.0.2.0/24", "action": "drop"},
    {"protocol": "sctp", "destination_port": 38412, "action": "drop"},
    {"protocol": 50, "action": "drop"},
)


def scene(ends: Ends, mode: str = "native") -> Scene:
    """The filter on ``ends.interface``."""
    site = _SITE.format(interface=ends.interface, mode=mode)
    for rule in _RULES:
        lines = (f"{key} = {value!r}".replace("'", '"') for key, value in rule.items())
        site += f'[[interface."{ends.interface}".rules]]\n' + "\n".join(lines) + "\n"
    return Scene(
        function="filter",
        site=site,
        cases=tuple(_cases(ends.link)),
        narrow={"ipv6": 0, "no_ip_options": 1, "no_fragments": 1, "vlan_depth": 0},
    )


def _cases(link: Packet) -> Iterator[Case]:
    yield from _rules(link)
    yield from _ports(link)
    yield from _sets(link)
    yield from _headers(link)
    yield from _ipv6(link)
    yield from _broken(link)


def _udp(source: str, port: int, number: int = 1, **ip: Any) -> Packet:
    return IP(src=source, dst=TO, id=number, **ip) / UDP(sport=4000, dport=port)


def _tcp(source: str, port: int, flags: str) -> Packet:
    return IP(src=source, dst=TO) / TCP(sport=4000, dport=port, flags=flags)


def _rules(link: Packet) -> Iterator[Case]:
    yield to_stack("no rule asks for this: the default", filled(link / _udp("10.8.0.1", 9)))
    yield dropped("a source prefix and UDP", filled(link / _udp("10.9.0.1", 9)))
    yield to_stack("the first match wins: DNS", filled(link / _udp("10.9.0.1", 53)))
    yield to_stack("the last address before the prefix", filled(link / _udp("10.8.255.255", 9)))
    yield dropped("the last address of the prefix", filled(link / _udp("10.9.255.255", 9)))
    yield to_stack("the first address behind it", filled(link / _udp("10.10.0.0", 9)))
    yield dropped("a SYN", filled(link / _tcp("10.9.0.1", 22, "S")))
    yield to_stack("a SYN with an ACK", filled(link / _tcp("10.9.0.1", 22, "SA")))
    yield dropped("a SYN with a PSH", filled(link / _tcp("10.9.0.1", 23, "SP")))
    yield dropped(
        "a destination", filled(link / IP(src="10.8.0.1", dst="192.0.2.7") / UDP(dport=9))
    )


def _ports(link: Packet) -> Iterator[Case]:
    for port, inside in ((5999, False), (6000, True), (6063, True), (6064, False)):
        made = filled(link / _tcp("10.8.0.1", port, "A"))
        what = f"port {port} of the range 6000-6063"
        yield dropped(what, made) if inside else to_stack(what, made)
    for port, inside in ((38412, True), (38413, False)):
        sctp = SCTP(sport=9, dport=port, tag=1) / SCTPChunkCookieEcho(cookie=b"sixteen bytes ok")
        made = link / IP(src="10.8.0.2", dst=TO) / sctp
        yield dropped("SCTP", made) if inside else to_stack(f"SCTP to {port}", made)
    yield to_stack("UDP to a port of TCP's range", filled(link / _udp("10.8.0.1", 6001)))


def _sets(link: Packet) -> Iterator[Case]:
    yield dropped("in the deny set", filled(link / _udp("198.51.100.2", 53)))
    yield to_stack("in the allow set and in the deny set", filled(link / _udp("198.51.100.1", 9)))
    denied = IPv6(src="2001:db8:d::7", dst=TO6) / UDP(sport=9, dport=53)
    yield dropped("in the deny set, IPv6", filled(link / denied))


def _headers(link: Packet) -> Iterator[Case]:
    yield dropped("behind a tag", filled(link / Dot1Q(vlan=7) / _udp("10.9.0.1", 9)))
    yield to_stack("behind a tag, passed", filled(link / Dot1Q(vlan=7) / _udp("10.8.0.1", 9)))
    two = Dot1AD(vlan=100) / Dot1Q(vlan=7)
    yield dropped("behind two tags", filled(link / two / _udp("10.9.0.1", 9)))
    yield to_stack("behind two tags, passed", filled(link / two / _udp("10.8.0.1", 9)))
    three = Dot1AD(vlan=100) / Dot1Q(vlan=7) / Dot1Q(vlan=8)
    yield to_stack("a third tag makes it not IP", filled(link / three / _udp("10.9.0.1", 9)))
    options = [IPOption_NOP()] * 8
    yield dropped("options before ports", filled(link / _udp("10.9.0.1", 9, options=options)))
    yield to_stack("DNS behind options", filled(link / _udp("10.9.0.1", 53, options=options)))
    yield dropped("a first fragment", filled(link / _udp("10.9.0.1", 9, 5, flags="MF")))
    yield to_stack("a first fragment, passed", filled(link / _udp("10.8.0.1", 9, 5, flags="MF")))
    later = IP(src="10.9.0.1", dst=TO, proto=17, frag=100, id=6) / Raw(b"\0\x35" * 20)
    yield dropped("a later fragment has no ports: the rule without", filled(link / later))
    yield dropped("an echo request", filled(link / IP(src="10.8.0.1", dst=TO) / ICMP(id=3)))
    esp = IP(src="10.8.0.1", dst=TO, proto=50) / Raw(b"\x11" * 24)
    yield dropped("ESP by its number", filled(link / esp))
    yield to_stack("ARP", padded(link / ARP(hwsrc=link.src, psrc="10.8.0.1", pdst=TO)))
    yield to_stack("another ethertype", padded(link / Raw(b"\x88\xcc" * 25)))
    everybody = Ether(src=link.src, dst="ff:ff:ff:ff:ff:ff")
    yield dropped("to everybody", filled(everybody / _udp("10.9.0.1", 9)))


def _ipv6(link: Packet) -> Iterator[Case]:
    ntp, other = UDP(sport=123, dport=9), UDP(sport=124, dport=9)
    head = IPv6(src="2001:db8:6::1", dst=TO6)
    yield dropped("an IPv6 prefix and a source port", filled(link / head / ntp))
    yield to_stack("another source port", filled(link / head / other))
    elsewhere = IPv6(src="2001:db8:7::1", dst=TO6)
    yield to_stack("another prefix", filled(link / elsewhere / ntp))
    hop = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
    yield dropped("behind a hop-by-hop header", filled(link / head / hop / ntp))
    yield to_stack("passed, behind one", filled(link / head / hop / other))
    first = IPv6ExtHdrFragment(offset=0, m=1, id=1)
    yield dropped("a first IPv6 fragment", filled(link / head / first / ntp))
    later = IPv6ExtHdrFragment(offset=9, m=0, id=1, nh=17)
    yield to_stack("a later one has no port", filled(link / head / later / Raw(b"\0\x7b" * 8)))
    yield dropped("IPv6 behind a tag", filled(link / Dot1Q(vlan=9) / head / ntp))


def _broken(link: Packet) -> Iterator[Case]:
    wrong = bytearray(bytes(filled(link / _udp("10.8.0.3", 9))))
    wrong[24] ^= 0x55
    yield dropped("a wrong IPv4 header checksum", bytes(wrong))
    cut = bytes(filled(link / _udp("10.8.0.4", 9, options=[IPOption_NOP()] * 40)))[:60]
    yield dropped("cut inside its header", cut)
    short = bytearray(bytes(filled(link / _udp("10.8.0.5", 9))))
    short[14] = 0x44
    yield dropped("a header of 16 bytes", bytes(short))
