# SPDX-License-Identifier: GPL-2.0-only
"""IPv4 routes as a flat table: DIR-16-8-8, after DIR-24-8.

Gupta, Lin, McKeown: "Routing Lookups in Hardware at Memory Access Speeds", INFOCOM 1998. The first
table is indexed by the upper 16 bits; an entry is a hop, or the number of a chunk that the next
eight bits index, and so once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

import numpy as np
from numpy.typing import NDArray

TOP, CHUNK = 1 << 16, 1 << 8
IN_CHUNK = 0x8000_0000

Entries = NDArray[np.uint32]


def build_flat(routes: Iterable[tuple[IPv4Network, int]]) -> tuple[Entries, Entries]:
    """The top table, shape (65536,), and the chunks, shape (n, 256); 0 stands for no route."""
    top = np.zeros(TOP, dtype=np.uint32)
    chunks: list[Entries] = []
    for network, hop in sorted(routes, key=lambda route: route[0].prefixlen):
        table, shift, address = top, 16, int(network.network_address)
        while network.prefixlen > 32 - shift:
            table = _below(table, address >> shift & (len(table) - 1), chunks)
            shift -= 8
        start = address >> shift & (len(table) - 1)
        # shorter prefixes came before, so that no entry here leads to a chunk yet
        table[start : start + (1 << (32 - shift - network.prefixlen))] = hop
    return top, np.stack(chunks) if chunks else np.zeros((0, CHUNK), dtype=np.uint32)


def _below(table: Entries, index: int, chunks: list[Entries]) -> Entries:
    """The chunk behind an entry; a new one has the entry's hop all over."""
    entry = int(table[index])
    if not entry & IN_CHUNK:
        chunks.append(np.full(CHUNK, entry, dtype=np.uint32))
        entry = IN_CHUNK | (len(chunks) - 1)
        table[index] = entry
    return chunks[entry & ~IN_CHUNK]
