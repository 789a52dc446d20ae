# SPDX-License-Identifier: GPL-2.0-only
"""Netlink messages and attributes as bytes (<linux/netlink.h>)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_DUMP_INTR = 0x10
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK
_HEADER, _ATTRIBUTE = Struct("=IHHII"), Struct("=HH")

Attributes = dict[int, bytes]


def headers(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and body of each netlink message in what one ``recv`` gave."""
    at, end = 0, len(datagram)
    while at + _HEADER.size <= end:
        size, kind, flags, _, _ = _HEADER.unpack_from(datagram, at)
        if size < _HEADER.size or at + size > end:
            return
        yield kind, flags, datagram[at + _HEADER.size : at + size]
        at += (size + 3) & ~3


def attributes(data: bytes, at: int = 0) -> Attributes:
    """Attributes from ``at`` on, by type; nesting flags are taken off."""
    found: Attributes = {}
    end = len(data)
    while at + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < 4 or at + size > end:
            break
        found[kind & _TYPE_MASK] = data[at + 4 : at + size]
        at += (size + 3) & ~3
    return found
