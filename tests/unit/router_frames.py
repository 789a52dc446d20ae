# SPDX-License-Identifier: GPL-2.0-only
"""Random frames for a router: good ones, edges of TTL, checksum, size and prefixes, broken ones."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from tests.unit.router_model import ones_sum

Network = IPv4Network | IPv6Network
TTLS = (0, 1, 2, 3, 64, 128, 255)
MACS = bytes.fromhex("0200000000fe0200000000fd")


def routes(count: int, rng: random.Random) -> list[Network]:
    """Different prefixes of both families that nest and touch."""
    found: dict[Network, None] = {}
    while len(found) < count:
        if rng.random() < 0.3:
            length = rng.choice([0, 16, 32, 48, 56, 64, 65, 96, 127, 128])
            address = 0x2001 << 112 | rng.getrandbits(6) << 90 | rng.getrandbits(4) << 30
            found[IPv6Network((address >> (128 - length) << (128 - length), length))] = None
        else:
            length = rng.choice([0, 1, 8, 15, 16, 17, 20, 23, 24, 24, 24, 25, 30, 31, 32])
            address = rng.choice([10, 11, 100, 128]) << 24 | rng.getrandbits(24)
            address &= rng.choice([0xFFFFFFFF, 0xFFFF0000, 0xFF0F00FF])
            found[IPv4Network((address >> (32 - length) << (32 - length), length))] = None
    return list(found)


def frame(prefixes: Sequence[Network], rng: random.Random) -> bytes:
    """One frame of 14 bytes or more."""
    made = _ipv6 if rng.random() < 0.3 else _ipv4
    data = made(prefixes, rng)
    chance = rng.random()
    if chance < 0.03:
        return data[: rng.randrange(14, len(data) + 1)]
    if chance < 0.05:
        return data[:12] + rng.choice([b"\x08\x06", b"\x81\x00\x00\x07", b"\x88\xcc"]) + data[14:]
    if chance < 0.07:
        place = rng.randrange(14, min(len(data), 54))
        return data[:place] + bytes([rng.getrandbits(8)]) + data[place + 1 :]
    return data


def _address(prefixes: Sequence[Network], version: int, rng: random.Random) -> int:
    bits = 32 if version == 4 else 128
    own = [n for n in prefixes if n.version == version]
    if not own or rng.random() < 0.1:
        tops = [0, 127, 224, 255, 255, 10, 128] if bits == 32 else [0xFF, 0xFE, 0, 0x20]
        return rng.choice(tops) << (bits - 8) | rng.getrandbits(bits - 8)
    network = rng.choice(own)
    first, last = int(network.network_address), int(network.broadcast_address)
    edge = rng.choice([first, last, first - 1, last + 1, rng.randint(first, last)])
    return min(max(edge, 0), (1 << bits) - 1)


def _ipv4(prefixes: Sequence[Network], rng: random.Random) -> bytes:
    options = rng.choice([0] * 12 + [4, 40])
    body = rng.randbytes(rng.choice([0, 8, *[26] * 6, 100, 1260, 1261, 1480, 1481, 1490]))
    total = 20 + options + len(body)
    if rng.random() < 0.05:
        total = rng.choice([0, 19, 20, total - 1, total + 1, 0xFFFF])
    ihl = 5 + options // 4 if rng.random() > 0.02 else rng.randrange(16)
    version = 4 if rng.random() > 0.02 else rng.randrange(16)
    header = bytearray(
        struct.pack(
            ">BBHHHBBHII",
            *(version << 4 | ihl, rng.getrandbits(8), max(total, 0), rng.getrandbits(16)),
            *(rng.choice([0, 0x4000]), rng.choice(TTLS), rng.choice([6, 17, 255]), 0),
            *(rng.getrandbits(32), _address(prefixes, 4, rng)),
        )
    )
    header += bytes(options)
    # now and then a header whose other words sum to 0xffff: its checksum may be 0x0000 or 0xffff
    if rng.random() < 0.1:
        rest = 0xFFFF - ones_sum(bytes(header[:4] + bytes(2) + header[6:]))
        header[4:6] = struct.pack(">H", rest)
        checksum = rng.choice([0, 0xFFFF])
    else:
        checksum = 0xFFFF - ones_sum(bytes(header[: ihl * 4] if ihl >= 5 else header))
    if rng.random() < 0.03:
        checksum ^= 1 << rng.randrange(16)
    header[10:12] = struct.pack(">H", checksum)
    return MACS + b"\x08\x00" + bytes(header) + body + bytes(rng.choice([0, 0, 6]))


def _ipv6(prefixes: Sequence[Network], rng: random.Random) -> bytes:
    body = rng.randbytes(rng.choice([0, 8, 26, 26, 26, 1240, 1241, 1460, 1461, 1470]))
    size = len(body) if rng.random() > 0.05 else rng.choice([len(body) + 1, 0, 0xFFFF])
    first = 0x60 if rng.random() > 0.02 else rng.getrandbits(8)
    header = struct.pack(
        ">B3sHBB16s16s",
        *(first, rng.randbytes(3), size, rng.choice([0, 6, 17, 44, 58]), rng.choice(TTLS)),
        *(rng.randbytes(16), _address(prefixes, 6, rng).to_bytes(16, "big")),
    )
    return MACS + b"\x86\xdd" + header + body
