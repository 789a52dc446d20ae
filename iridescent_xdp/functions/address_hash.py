# SPDX-License-Identifier: GPL-2.0-only
"""Exact IPv4 addresses in two-choice buckets of four: ``struct address_hash`` of the filter.

Two multiplicative hashes (Knuth's and xxHash's odd constants), each address in one of its two
buckets; a full bucket evicts (cuckoo hashing, Pagh and Rodler 2001). The look-up reads at most
two buckets and needs no helper call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from iridescent_xdp.errors import StateError
from iridescent_xdp.functions.rules import Network
from iridescent_xdp.kernel.maps import Records

MULTIPLIERS = (0x9E3779B1, 0x85EBCA77)
PLACES = 4
MAX_BITS = 16
_KICKS = 500
_U32 = 0xFFFF_FFFF


def hashable(networks: Sequence[Network]) -> bool:
    """Whether every IPv4 prefix is one address other than 0.0.0.0 (an empty place)."""
    return all(n.prefixlen == 32 and int(n.network_address) for n in networks if n.version == 4)


def build_address_hash(dtype: np.dtype[Any], networks: Sequence[Network]) -> Records:
    """The map's value for the IPv4 part of ``networks``.

    Raises StateError when the addresses do not fit (beyond about 200,000).
    """
    addresses = [int(n.network_address) for n in networks if n.version == 4]
    bits = 2
    while bits < MAX_BITS and (PLACES << bits) < 2 * len(addresses):
        bits += 1
    for size in range(bits, MAX_BITS + 1):
        buckets = _place(addresses, size)
        if buckets is not None:
            table = np.zeros(1, dtype=dtype)
            table[0]["shift"] = 32 - size
            for number, bucket in enumerate(buckets):
                table[0]["buckets"][number][: len(bucket)] = bucket
            return table
    raise StateError(f"{len(addresses)} addresses do not fit into the exact hash")


def _place(addresses: Sequence[int], bits: int) -> list[list[int]] | None:
    buckets: list[list[int]] = [[] for _ in range(1 << bits)]
    shift = 32 - bits
    for address in addresses:
        item = address
        for kick in range(_KICKS):
            choices = [((item * m) & _U32) >> shift for m in MULTIPLIERS]
            room = min(choices, key=lambda number: len(buckets[number]))
            if len(buckets[room]) < PLACES:
                buckets[room].append(item)
                break
            victim = buckets[choices[kick & 1]]
            item, victim[kick % PLACES] = victim[kick % PLACES], item
        else:
            return None
    return buckets
