# SPDX-License-Identifier: GPL-2.0-only
"""The echo responder's functional stream (examples/echo.bpf.c): answered, or to the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from traffic.functional import Case, answered, to_stack
from traffic.functional_scene import Ends, Scene, filled, padded

_US, _THEM = "203.0.113.7", "198.51.100.7"


def scene(ends: Ends, template: Path, mode: str = "native") -> Scene:
    """The responder of the template file on ``ends.interface``."""
    site = f"""
[interface."{ends.interface}"]
function = "{template}"
mode = "{mode}"
[interface."{ends.interface}".policy]
echo_port = 7
"""
    return Scene(
        function="echo",
        site=site,
        cases=tuple(_cases(ends)),
        narrow={"no_ip_options": 1, "only_protocol": 1},
    )


def _cases(ends: Ends) -> Iterator[Case]:
    yield from _answered(ends)
    yield from _passed(ends)


def _answer(ends: Ends, what: str, packet: Packet) -> Case:
    """Ends swapped, an echo request made a reply, checksums from scratch."""
    sent = filled(ends.link / packet)
    back = Ether(bytes(sent))
    back.src, back.dst = back.dst, back.src
    back[IP].src, back[IP].dst = back[IP].dst, back[IP].src
    del back[IP].chksum
    if ICMP in back:
        back[ICMP].type = 0
        del back[ICMP].chksum
    else:
        back[UDP].sport, back[UDP].dport = back[UDP].dport, back[UDP].sport
        if back[UDP].chksum:
            del back[UDP].chksum
    return answered(what, sent, back)


def _answered(ends: Ends) -> Iterator[Case]:
    head = IP(src=_THEM, dst=_US)
    for number in (0, 1, 0xF7FF, 0xFFFF):  # checksums that carry
        yield _answer(ends, f"a ping, sequence {number}", head / ICMP(id=1, seq=number))
    yield _answer(ends, "a datagram", head / UDP(sport=4000, dport=7))
    yield _answer(ends, "one without a checksum", head / UDP(sport=4001, dport=7, chksum=0))
    with_options = IP(src=_THEM, dst=_US, options=[IPOption_NOP()] * 4)
    yield _answer(ends, "a ping with options", with_options / ICMP(id=2))
    yield _answer(ends, "a datagram with options", with_options / UDP(sport=4002, dport=7))


def _passed(ends: Ends) -> Iterator[Case]:
    def kernel(what: str, packet: Packet) -> Case:
        return to_stack(what, filled(ends.link / packet))

    head = IP(src=_THEM, dst=_US)
    yield kernel("another port", head / UDP(sport=4000, dport=8))
    yield kernel("from an echo port", head / UDP(sport=7, dport=7))
    yield kernel("TCP", head / TCP(sport=4000, dport=7))
    yield kernel("an echo reply", head / ICMP(type=0, id=3))
    yield kernel("a fragment", IP(src=_THEM, dst=_US, flags="MF") / UDP(sport=4003, dport=7))
    yield kernel("behind a tag", Dot1Q(vlan=5) / head / ICMP(id=4))
    yield kernel("IPv6", IPv6(src="2001:db8::7", dst="2001:db8::1") / UDP(sport=9, dport=7))
    yield to_stack("ARP", padded(ends.link / ARP(hwsrc=ends.far_mac, psrc=_THEM, pdst=_US)))
    everybody = Ether(src=ends.far_mac, dst="ff:ff:ff:ff:ff:ff")
    yield to_stack("a ping to everybody", filled(everybody / head / ICMP(id=5)))
