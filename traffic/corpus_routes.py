# SPDX-License-Identifier: GPL-2.0-only
"""Packets on the edges of routes: the first and last address and those beside them, every TTL that
matters, IPv4 checksums that have two right values, packets of the MTU and one byte more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network
TTLS = (0, 1, 2, 255)
SMALL_BYTES = 46  # of an IP packet in the smallest Ethernet frame
_MACS = bytes.fromhex("020000000002020000000001")
_UDP = 17


def for_routes(
    prefixes: Iterable[Network], sizes: Iterable[int] = ()
) -> Iterator[tuple[str, bytes]]:
    """Named frames; ``sizes`` are IP packet sizes to try on each prefix, in bytes."""
    wanted = tuple(sizes)
    for prefix in prefixes:
        first, last = int(prefix.network_address), int(prefix.broadcast_address)
        highest = (1 << prefix.max_prefixlen) - 1
        for name, address in (
            ("before", first - 1),
            ("first", first),
            ("last", last),
            ("behind", last + 1),
        ):
            if 0 <= address <= highest:
                yield f"route-{prefix}-{name}", ip_frame(prefix.version, address)
        for ttl in TTLS:
            yield f"route-{prefix}-ttl-{ttl}", ip_frame(prefix.version, first, ttl=ttl)
        for size in wanted:
            yield f"route-{prefix}-{size}-bytes", ip_frame(prefix.version, first, size=size)
        if prefix.version == 4:
            for checksum in (0x0000, 0xFFFF):
                frame = zero_sum_frame(first, checksum)
                yield f"route-{prefix}-checksum-{checksum:04x}", frame


def ip_frame(version: int, destination: int, *, ttl: int = 64, size: int = SMALL_BYTES) -> bytes:
    """A UDP packet of ``size`` bytes in an Ethernet frame; addresses as integers."""
    if version == 4:
        header = _ipv4(destination, ttl, size, ident=0)
        checksum = 0xFFFF - _sum(header)
        header = header[:10] + struct.pack(">H", checksum) + header[12:]
        return _MACS + b"\x08\x00" + header + bytes(size - len(header))
    header = struct.pack(
        ">IHBB16s16s",
        *(0x60000000, size - 40, _UDP, ttl),
        *(bytes.fromhex("20010db8" + "00" * 11 + "01"), destination.to_bytes(16, "big")),
    )
    return _MACS + b"\x86\xdd" + header + bytes(size - len(header))


def zero_sum_frame(destination: int, checksum: int) -> bytes:
    """Its header sums to zero without the checksum, which may be 0x0000 or 0xffff (RFC 1624, 3)."""
    header = _ipv4(destination, 64, SMALL_BYTES, ident=0)
    header = _ipv4(destination, 64, SMALL_BYTES, ident=0xFFFF - _sum(header))
    header = header[:10] + struct.pack(">H", checksum) + header[12:]
    return _MACS + b"\x08\x00" + header + bytes(SMALL_BYTES - len(header))


def _ipv4(destination: int, ttl: int, size: int, *, ident: int) -> bytes:
    source = 0xC0000201  # 192.0.2.1
    return struct.pack(">BBHHHBBHII", 0x45, 0, size, ident, 0, ttl, _UDP, 0, source, destination)


def _sum(data: bytes) -> int:
    """16-bit one's complement sum."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
