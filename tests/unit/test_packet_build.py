# SPDX-License-Identifier: GPL-2.0-only
"""Frames patched from templates are the frames that scapy would build."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from iridescent_xdp.errors import TrafficError
from traffic.packet_build import Flow, Fragment, Shape, checksum, frame


def rebuilt(data: bytes) -> bytes:
    """``data`` with every length and checksum computed by scapy."""
    packet: Packet = Ether(data)
    layer = packet
    if SCTP in packet:  # the filler behind the first chunk is no chunk
        sctp = packet[SCTP]
        sctp.remove_payload()
        sctp.add_payload(Raw(sctp.original[12:]))
    while layer:
        for name in {"len", "plen", "chksum", "cksum"} & set(layer.fields):
            layer.delfieldval(name)
        layer = layer.payload
    return bytes(packet)


def test_scapy_does_compute_them() -> None:
    flow = Flow(family=4, source=1, destination=2, protocol=17)
    wrong = bytearray(good := frame(flow, Shape()))
    wrong[24], wrong[40] = wrong[24] ^ 1, wrong[40] ^ 1
    assert rebuilt(bytes(wrong)) == good


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=40).filter(any))
@example([0xFFFF])
@example([0x1234, 0xEDCB])
def test_the_checksum_is_that_of_rfc_1071(words: list[int]) -> None:
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(int.from_bytes(b"".join(word.to_bytes(2) for word in words))) == total ^ 0xFFFF


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", [6, 17, 132, 1, 58, 47, 50])
def test_lengths_and_checksums_are_scapys(family: Any, protocol: int) -> None:
    flow = Flow(family=family, source=0x0A010203, destination=0xC0000201, protocol=protocol,
                source_port=0xFFFE, destination_port=53, tcp_flags=0x29)  # fmt: skip
    for tags, options, size in product((0, 1, 2, 3), (0, 8, 40), (60, 61, 590, 1514)):
        data = frame(flow, Shape(tags=tags, options_bytes=options, size_bytes=size), 0xABCD)
        assert data == rebuilt(data)
        headers = len(frame(flow, Shape(tags=tags, options_bytes=options, size_bytes=0)))
        assert len(data) == max(size, headers)


def test_a_udp_checksum_of_zero_is_sent_as_ffff() -> None:
    # RFC 768: zero means that there is none.
    flows = (Flow(family=4, source=n, destination=1, protocol=17) for n in range(0x20000))
    data = next(d for d in (frame(f, Shape()) for f in flows) if d[40:42] in (b"\0\0", b"\xff\xff"))
    assert data[40:42] == b"\xff\xff"
    assert data == rebuilt(data)


@pytest.mark.parametrize(("fragment", "offset", "more"), [("first", 0, 1), ("later", 185, 0)])
def test_fragments_are_announced_and_keep_the_ports_place(
    fragment: Fragment, offset: int, more: int
) -> None:
    flow = Flow(family=4, source=1, destination=2, protocol=17, source_port=7, destination_port=8)
    ip = Ether(frame(flow, Shape(fragment=fragment)))[IP]
    assert (ip.frag, int(ip.flags)) == (offset, more)
    assert bytes(ip)[20:24] == bytes((0, 7, 0, 8))
    data = frame(replace(flow, family=6), Shape(fragment=fragment))
    header = Ether(data)[IPv6ExtHdrFragment]
    assert (header.offset, header.m, header.nh) == (offset, more, 17)
    assert data[62:66] == bytes((0, 7, 0, 8))


def test_a_frame_for_more_than_mtu_1500_is_refused() -> None:
    flow = Flow(family=4, source=1, destination=2, protocol=6)
    with pytest.raises(TrafficError, match="at most 1514 bytes, got size_bytes=1515"):
        frame(flow, Shape(size_bytes=1515))
