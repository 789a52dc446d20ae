# SPDX-License-Identifier: GPL-2.0-only
"""Packets cut at every length through their headers, and packets with flipped bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from traffic.packet_build import IPV6_EXTENSIONS, MIN_FRAME_BYTES

Named = tuple[str, bytes]

_VLAN_TYPES = frozenset({0x8100, 0x88A8})
_TRANSPORT_BYTES = {1: 8, 6: 20, 17: 8, 47: 8, 58: 8, 132: 12}
_PAYLOAD_BYTES = 4  # cuts go this far behind the headers
_MACS_BYTES = 12  # mutating addresses of stations changes nothing that is decided
_MAX_MUTATIONS = 4


def truncations(packets: Iterable[Named]) -> Iterator[Named]:
    """Each packet cut at every length from 14 bytes to a few behind its headers.

    No frame comes twice, and none that is a whole packet of ``packets``.
    """
    packets = tuple(packets)
    seen = {frame for _, frame in packets}
    for name, frame in packets:
        end = min(header_length(frame) + _PAYLOAD_BYTES, len(frame))
        for length in range(MIN_FRAME_BYTES, end):
            cut = frame[:length]
            if cut not in seen:
                seen.add(cut)
                yield f"{name}/cut-{length}", cut


def header_length(frame: bytes) -> int:
    """Bytes up to the end of the transport header, also through IP in IP; at most the frame."""
    at, kind = MIN_FRAME_BYTES, _word(frame, 12)
    while kind in _VLAN_TYPES and at + 4 <= len(frame):
        kind = _word(frame, at + 2)
        at += 4
    if kind == 0x0800:
        at = _behind_ip(frame, at, 4)
    elif kind == 0x86DD:
        at = _behind_ip(frame, at, 41)
    else:
        at += 28  # an ARP packet, or as much of anything else
    return min(at, len(frame))


def _behind_ip(frame: bytes, at: int, protocol: int) -> int:
    """The end of the headers when ``protocol`` (4 or 41: an IP header) starts at ``at``."""
    while protocol in (4, 41) or protocol in IPV6_EXTENSIONS:
        if at + 8 > len(frame):
            return at + 8
        if protocol == 4:
            at, protocol = at + max((frame[at] & 15) * 4, 20), _byte(frame, at + 9)
        elif protocol == 41:
            at, protocol = at + 40, frame[at + 6]
        elif protocol == 44:
            at, protocol = at + 8, frame[at]
        else:
            size = (frame[at + 1] + 2) * 4 if protocol == 51 else (frame[at + 1] + 1) * 8
            at, protocol = at + size, frame[at]
    return at + _TRANSPORT_BYTES.get(protocol, 8)


def _byte(frame: bytes, at: int) -> int:
    return frame[at] if at < len(frame) else 0


def _word(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at : at + 2])


def mutations(packets: Sequence[Named], count: int, seed: int) -> Iterator[Named]:
    """``count`` packets with one to four changes in their headers, reproducible by ``seed``.

    A change flips a bit, sets a byte to an extreme or random value, or cuts the frame.
    """
    random = Random(seed)
    for number in range(count):
        name, frame = random.choice(packets)
        data = bytearray(frame)
        for _ in range(random.randint(1, _MAX_MUTATIONS)):
            _mutate(data, random)
        yield f"{name}/fuzz-{seed}-{number}", bytes(data)


def _mutate(data: bytearray, random: Random) -> None:
    end = max(header_length(bytes(data)), MIN_FRAME_BYTES)
    at = random.randrange(_MACS_BYTES, end)
    kind = random.random()
    if kind < 0.6:
        data[at] ^= 1 << random.randrange(8)
    elif kind < 0.8:
        data[at] = random.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
    elif kind < 0.95:
        data[at] = random.randrange(256)
    else:
        del data[max(at, MIN_FRAME_BYTES) :]
