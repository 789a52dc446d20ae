# SPDX-License-Identifier: GPL-2.0-only
"""Frequent IPv4 destinations in a table with one slot for each address, as a direct-mapped cache.

The multiplier of the hash (Knuth, The Art of Computer Programming 3, 6.4) is the one of some that
keeps most of the traffic in the table: where two addresses share a slot, the more frequent has it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from iridescent_xdp.kernel.maps import Records

TRIED, SEED = 64, 1


def build_hot_table(
    dtype: np.dtype[np.void], bits: int, hops: Mapping[int, tuple[int, int]]
) -> Records:
    """The map's value, from the hop of each address and how often packets went there."""
    table = np.zeros(1, dtype=dtype)
    table["multiplier"] = 1
    if not hops:
        return table
    ranked = sorted(hops, key=lambda address: -hops[address][1])
    addresses = np.array(ranked, dtype=np.uint32)
    counts = np.array([hops[address][1] for address in ranked])
    best, kept = 1, np.zeros(0, dtype=np.int64)
    for drawn in np.random.default_rng(SEED).integers(1, 1 << 32, TRIED, dtype=np.uint32):
        multiplier = int(drawn) | 1
        slots = _slots(addresses, multiplier, bits)
        first = np.unique(slots, return_index=True)[1]  # the most frequent of each slot
        if counts[first].sum() > (counts[kept].sum() if len(kept) else 0):
            best, kept = multiplier, first
    table["multiplier"] = best
    slots = _slots(addresses[kept], best, bits)
    table["slot"]["address"][0, slots] = addresses[kept]
    table["slot"]["hop"][0, slots] = [hops[int(address)][0] for address in addresses[kept]]
    return table


def _slots(
    addresses: np.ndarray[tuple[int], np.dtype[np.uint32]], multiplier: int, bits: int
) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    product = addresses.astype(np.uint64) * multiplier & 0xFFFF_FFFF
    return (product >> (32 - bits)).astype(np.uint32)
