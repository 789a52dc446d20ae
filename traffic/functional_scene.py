# SPDX-License-Identifier: GPL-2.0-only
"""What a functional test of one fast path consists of: an operator file, and cases for it.

A scene is made for the interfaces and MAC addresses that are there, so the same one runs on a veth
pair and on a NIC. The packets are scapy's, of at least 60 bytes, because a NIC pads shorter ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scapy.layers.l2 import Ether
from scapy.packet import Packet, Padding, Raw

from traffic.functional import Case
from traffic.mix_spec import MIN_SIZE_BYTES

OUT = "out"  # the port behind the interface that a router forwards to
NEIGHBOUR_MAC = "02:00:00:00:0b:01"  # a next hop, or a gateway, that nobody has


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The interface under test and who is at the other end of its wire.

    ``out`` and ``out_mac`` are the interface, in the same namespace, that leads to port OUT.
    """

    interface: str
    mac: str
    far_mac: str
    out: str = ""
    out_mac: str = ""

    @property
    def link(self) -> Packet:
        """The Ethernet header of packets to the interface under test."""
        return Ether(src=self.far_mac, dst=self.mac)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """``site`` is the text of an operator file; ``narrow`` a variant that all cases fit or miss.

    ``narrow`` has values of points by name: a specialized variant whose assumptions some of the
    packets break, so that they have to come to the same end by way of the generic code.
    """

    function: str
    site: str
    cases: tuple[Case, ...]
    narrow: Mapping[str, int]


def filled(
    packet: Packet, size_bytes: int = MIN_SIZE_BYTES, text: bytes = b"functional "
) -> Packet:
    """The packet with a payload, so that the frame has so many bytes (more, if it has already)."""
    room = size_bytes - len(packet)
    return packet / Raw((text * (room // len(text) + 1))[:room]) if room > 0 else packet


def padded(packet: Packet, size_bytes: int = MIN_SIZE_BYTES) -> Packet:
    """The packet with zeros behind it: not for IP, whose padding a bridge may cut off."""
    room = size_bytes - len(packet)
    return packet / Padding(bytes(room)) if room > 0 else packet
