# SPDX-License-Identifier: GPL-2.0-only
"""How the load balancer's model reads a frame, and how a ping is answered."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from iridescent_xdp.functions.l4lb_tables import Address

DROP, PASS, TX = 1, 2, 3


def ones_sum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return int(total)


class Decided(Exception):
    """No error: it ends the parsing."""

    def __init__(self, slot: str, verdict: int, frame: bytes | None = None) -> None:
        self.slot, self.verdict, self.frame = slot, verdict, frame


MALFORMED = ("malformed", DROP)
FOREIGN = ("no service", PASS)


@dataclass
class Ip:
    """An IP packet: addresses, protocol, what is behind the header and its fragment state."""

    source: Address
    destination: Address
    protocol: int
    payload: bytes
    whole: bytes
    fragment: bool = False
    later: bool = False


def parse_ip4(data: bytes, *, exact: bool = True) -> Ip:
    """``exact``: the frame must hold the packet; else a header and what is there."""
    if len(data) < 20 or data[0] >> 4 != 4 or (data[0] & 15) < 5:
        raise Decided(*MALFORMED)
    size = (data[0] & 15) * 4
    total, fragment = struct.unpack_from("!2xH2xH", data)
    if len(data) < size or (exact and not size <= total <= len(data)):
        raise Decided(*MALFORMED)
    whole = data[:total] if exact else data
    return Ip(
        source=ip_address(data[12:16]),
        destination=ip_address(data[16:20]),
        protocol=data[9],
        payload=whole[size:],
        whole=whole,
        fragment=fragment & 0x3FFF != 0,
        later=fragment & 0x1FFF != 0,
    )


def parse_ip6(data: bytes, *, exact: bool = True) -> Ip:
    if len(data) < 40 or data[0] >> 4 != 6:
        raise Decided(*MALFORMED)
    total = 40 + struct.unpack_from("!H", data, 4)[0]
    if exact and total > len(data):
        raise Decided(*MALFORMED)
    whole = data[:total] if exact else data
    ip = Ip(ip_address(data[8:24]), ip_address(data[24:40]), data[6], whole[40:], whole)
    if ip.protocol == 44 and exact:
        if len(ip.payload) < 8:
            raise Decided(*MALFORMED)
        ip.protocol, ip.payload, ip.fragment = ip.payload[0], ip.payload[8:], True
    return ip


def echo_reply(frame: bytes, ip: Ip) -> bytes:
    """Addresses of both layers swapped; the checksum keeps being as right or wrong as it was."""
    size = 4 if ip.source.version == 4 else 16
    at = 14 + (12 if size == 4 else 8)
    out = bytearray(frame[6:12] + frame[:6] + frame[12:])
    out[at : at + 2 * size] = frame[at + size : at + 2 * size] + frame[at : at + size]
    icmp = 14 + len(ip.whole) - len(ip.payload)
    out[icmp] = 0 if size == 4 else 129
    before, after = (struct.unpack_from("!H", data, icmp)[0] for data in (frame, out))
    (check,) = struct.unpack_from("!H", frame, icmp + 2)
    total = (0xFFFF - check) + (0xFFFF - before) + after  # RFC 1624, equation 3
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", out, icmp + 2, 0xFFFF - total)
    return bytes(out)
