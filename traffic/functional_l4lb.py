# SPDX-License-Identifier: GPL-2.0-only
"""The load balancer's functional stream: encapsulated by scapy, or to the kernel, or dropped.

Each service has one backend, so that where a packet goes does not depend on its flow's hash. The
source port of GUE does: it is written here from docs/l4lb.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from traffic.functional import Case, answered, dropped, to_stack
from traffic.functional_scene import Ends, Scene, filled, padded

WEB, DNS, WEB6 = "203.0.113.80", "203.0.113.53", "2001:db8:f::80"
BACKEND, BACKEND_DNS, BACKEND6 = "10.0.0.1", "10.0.0.53", "2001:db8:77::1"
OUTER, OUTER6 = "192.0.2.1", "2001:db8::1"
CLIENT, CLIENT6 = "198.51.100.7", "2001:db8:c::7"
GUE_PORT = 6080

_SITE = """
[interface."{interface}"]
function = "l4lb"
mode = "{mode}"
[interface."{interface}".l4lb]
gateway_mac = "{gateway}"
source_address4 = "{outer}"
source_address6 = "{outer6}"
connections = 4096
[[interface."{interface}".services]]
address = "{web}"
port = 80
protocol = "tcp"
backends = [{{ address = "{backend}" }}]
[[interface."{interface}".services]]
address = "{dns}"
port = 53
protocol = "udp"
encapsulation = "gue"
backends = [{{ address = "{backend_dns}" }}]
[[interface."{interface}".services]]
address = "{web6}"
port = 80
protocol = "tcp"
backends = [{{ address = "{backend6}" }}]
"""


def scene(ends: Ends, mode: str = "native") -> Scene:
    """The load balancer on ``ends.interface``; its gateway is the far end of the wire."""
    site = _SITE.format(
        interface=ends.interface,
        mode=mode,
        gateway=ends.far_mac,
        outer=OUTER,
        outer6=OUTER6,
        web=WEB,
        dns=DNS,
        web6=WEB6,
        backend=BACKEND,
        backend_dns=BACKEND_DNS,
        backend6=BACKEND6,
    )
    return Scene(
        function="l4lb",
        site=site,
        cases=tuple(_cases(ends)),
        narrow={"ipv6": 0, "no_ip_options": 1},
    )


def _cases(ends: Ends) -> Iterator[Case]:
    yield from _balanced(ends)
    yield from _pings(ends)
    yield from _others(ends)


def _encapsulated(ends: Ends, what: str, inner: Packet, outer: Packet) -> Case:
    """The inner packet is as it was, behind headers of ours."""
    sent = filled(ends.link / inner)
    carried = Raw(bytes(Ether(bytes(sent)).payload))
    return answered(what, sent, Ether(src=ends.mac, dst=ends.far_mac) / outer / carried)


def _balanced(ends: Ends) -> Iterator[Case]:
    outer = IP(src=OUTER, dst=BACKEND, ttl=64, flags="DF", id=0, proto=4)
    for number, flags in enumerate(("S", "A", "PA", "FA", "R")):
        syn = IP(src=CLIENT, dst=WEB) / TCP(sport=4000 + number, dport=80, flags=flags)
        yield _encapsulated(ends, f"IP in IP, TCP {flags}", syn, outer)
    marked = IP(src=CLIENT, dst=WEB, tos=0xB8, ttl=3) / TCP(sport=4010, dport=80)
    yield _encapsulated(
        ends, "TOS is copied, the inner TTL stays", marked, _changed(outer, tos=0xB8)
    )
    six = IPv6(src=CLIENT6, dst=WEB6, tc=0x12, fl=0x345) / TCP(sport=4020, dport=80)
    outer6 = IPv6(src=OUTER6, dst=BACKEND6, hlim=64, nh=41, tc=0x12, fl=0x345)
    yield _encapsulated(ends, "IPv6 in IPv6", six, outer6)
    for port in (5000, 5001, 65_535):
        query = IP(src=CLIENT, dst=DNS) / UDP(sport=port, dport=53)
        gue = _changed(outer, dst=BACKEND_DNS, proto=17)
        udp = UDP(sport=_gue_source_port(CLIENT, port, 53), dport=GUE_PORT, chksum=0)
        yield _encapsulated(ends, f"GUE from port {port}", query, gue / udp)
    full = IP(src=CLIENT, dst=WEB) / TCP(sport=4030, dport=80) / Raw(b"x" * (1480 - 40))
    yield _encapsulated(ends, "as large as there is room for", full, outer)
    larger = IP(src=CLIENT, dst=WEB) / TCP(sport=4030, dport=80) / Raw(b"x" * (1481 - 40))
    yield to_stack("one byte too large", ends.link / larger)


def _pings(ends: Ends) -> Iterator[Case]:
    back = Ether(src=ends.mac, dst=ends.far_mac)
    for size in (18, 56):
        data = Raw(bytes(range(size)))
        ping = IP(src=CLIENT, dst=WEB, id=size) / ICMP(id=7, seq=size) / data
        reply = IP(src=WEB, dst=CLIENT, id=size) / ICMP(type=0, id=7, seq=size) / data
        yield answered(f"a ping of {size} bytes", ends.link / ping, back / reply)
    data = Raw(b"six" * 8)
    ping6 = IPv6(src=CLIENT6, dst=WEB6) / ICMPv6EchoRequest(id=7, seq=1) / data
    reply6 = IPv6(src=WEB6, dst=CLIENT6) / ICMPv6EchoReply(id=7, seq=1) / data
    yield answered("a ping over IPv6", ends.link / ping6, back / reply6)


def _others(ends: Ends) -> Iterator[Case]:
    def kernel(what: str, packet: Packet) -> Case:
        return to_stack(what, filled(ends.link / packet))

    yield kernel("another port", IP(src=CLIENT, dst=WEB) / TCP(sport=1, dport=81))
    yield kernel("another protocol", IP(src=CLIENT, dst=WEB) / UDP(sport=1, dport=80))
    yield kernel("another address", IP(src=CLIENT, dst="203.0.113.81") / TCP(sport=1, dport=80))
    tagged = Dot1Q(vlan=3) / IP(src=CLIENT, dst=WEB) / TCP(sport=2, dport=80)
    yield kernel("behind a tag", tagged)
    yield to_stack("ARP", padded(ends.link / ARP(hwsrc=ends.far_mac, psrc=CLIENT, pdst=WEB)))
    everybody = Ether(src=ends.far_mac, dst="ff:ff:ff:ff:ff:ff")
    yield to_stack(
        "to everybody", filled(everybody / IP(src=CLIENT, dst=WEB) / TCP(sport=3, dport=80))
    )
    piece = IP(src=CLIENT, dst=WEB, flags="MF", id=77) / TCP(sport=4, dport=80)
    yield dropped("a fragment", filled(ends.link / piece))
    cut = bytes(ends.link / IP(src=CLIENT, dst=WEB, len=30) / TCP(sport=5, dport=80))
    yield dropped("a TCP header that is cut", cut + bytes(60 - len(cut)))


def _changed(packet: Packet, **fields: object) -> Packet:
    made = packet.copy()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _gue_source_port(source: str, source_port: int, destination_port: int) -> int:
    """docs/l4lb.md, IPv4: 49152 + h modulo 16384, h = m(source * 2^32 + ports)."""
    x = int(ip_address(source)) << 32 | source_port << 16 | destination_port
    for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):
        x = x * factor & (1 << 64) - 1
        x ^= x >> 32
    return 49_152 + x % 16_384
