# SPDX-License-Identifier: GPL-2.0-only
"""IPv4 routes as a flat table: DIR-16-8-8, after DIR-24-8.

Gupta, Lin, McKeown: "Routing Lookups in Hardware at Memory Access Speeds", INFOCOM 1998. The first
table is indexed by the upper 16 bits; an entry is a hop, or the number of a chunk that the next
eight bits index, and so once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from typing import Any

import numpy as np

TOP, CHUNK = 1 << 16, 1 << 8
IN_CHUNK = 0x8000_0000
TOP_BITS, CHUNK_BITS, BITS = 16, 8, 32

Entries = np.ndarray[Any, np.dtype[np.uint32]]
Places = np.ndarray[Any, np.dtype[np.int64]]


class FlatTable:
    """Top table and chunks, built at once and then changed prefix by prefix.

    Beside each entry stands the length of the prefix that it is from, so that a shorter prefix
    does not go over a longer one. 0 stands for no route. ``top_changed`` and ``changed`` (chunks)
    say what differs from before ``written`` was called.
    """

    def __init__(self, routes: Mapping[IPv4Network, int]) -> None:
        # the top table, then the chunks, one after the other
        self._entries: Entries = np.zeros(TOP, dtype=np.uint32)
        self._lengths = np.zeros(TOP, dtype=np.uint8)
        self.count = 0
        self.top_changed = True
        self.changed: set[int] = set()
        self._build(routes)
        self.leftovers = False  # whether there may be chunks that no route needs any more

    @property
    def top(self) -> Entries:
        """Shape (65536,)."""
        return self._entries[:TOP]

    @property
    def chunks(self) -> Entries:
        """Shape (count, 256)."""
        return self._entries[TOP : TOP + self.count * CHUNK].reshape(-1, CHUNK)

    def written(self) -> None:
        """What was told as changed is written."""
        self.top_changed = False
        self.changed.clear()

    def _build(self, routes: Mapping[IPv4Network, int]) -> None:
        addresses = np.array([int(n.network_address) for n in routes], dtype=np.int64)
        lengths = np.array([n.prefixlen for n in routes], dtype=np.int64)
        hops = np.array(list(routes.values()), dtype=np.uint32)
        for length in np.unique(lengths):  # the shorter ones first
            chosen = lengths == length
            places, span = self._places(addresses[chosen], int(length))
            # prefixes of one length do not overlap, and no longer one is here yet
            spread = (places[:, None] + np.arange(span)).ravel()
            self._entries[spread] = np.repeat(hops[chosen], span)
            self._lengths[spread] = length

    # -- single prefixes -------------------------------------------------------------------

    def set(self, network: IPv4Network, hop: int) -> None:
        """A new route, or another hop for it."""
        self._paint(network, hop, network.prefixlen, lambda lengths, own: lengths <= own)

    def delete(self, network: IPv4Network, hop: int, length: int) -> None:
        """No route any more: its addresses go to ``hop``, of the next shorter prefix, which has
        ``length`` bits; 0 and 0 when there is none."""
        own = network.prefixlen
        self.leftovers = self.leftovers or own > TOP_BITS
        self._paint(network, hop, length, lambda lengths, _: lengths == own)

    def _paint(
        self,
        network: IPv4Network,
        hop: int,
        length: int,
        mine: Callable[[np.ndarray[Any, Any], int], np.ndarray[Any, Any]],
    ) -> None:
        if network.prefixlen == 0:
            self._paint_all(hop, length)
            return
        address = np.array([int(network.network_address)], dtype=np.int64)
        start, span = self._places(address, network.prefixlen)
        places = start[0] + np.arange(span)
        while len(places):
            entries = self._entries[places]
            below = (entries & IN_CHUNK) != 0
            plain = places[~below]
            plain = plain[mine(self._lengths[plain], network.prefixlen)]
            self._entries[plain], self._lengths[plain] = hop, length
            self._note(plain)
            first = TOP + (entries[below] & ~np.uint32(IN_CHUNK)).astype(np.int64) * CHUNK
            places = (first[:, None] + np.arange(CHUNK)).ravel()

    def _paint_all(self, hop: int, length: int) -> None:
        """What no longer prefix has: the same as above in a tenth of the time."""
        used = TOP + self.count * CHUNK
        entries, lengths = self._entries[:used], self._lengths[:used]
        places = np.flatnonzero((lengths == 0) & ((entries & IN_CHUNK) == 0))
        entries[places], lengths[places] = hop, length
        self._note(places)

    def _note(self, places: Places) -> None:
        if len(places) and places[0] < TOP:
            self.top_changed = True
        self.changed.update(np.unique((places[places >= TOP] - TOP) // CHUNK).tolist())

    # -- chunks ----------------------------------------------------------------------------

    def _places(self, addresses: Places, length: int) -> tuple[Places, int]:
        """Where the entries of prefixes of one length begin, and how many each has. Chunks are
        made as they are needed."""
        places, bits = addresses >> (BITS - TOP_BITS), TOP_BITS
        while length > bits:
            self._split(places)
            bits += CHUNK_BITS
            chunk = (self._entries[places] & ~np.uint32(IN_CHUNK)).astype(np.int64)
            places = TOP + chunk * CHUNK + (addresses >> (BITS - bits) & (CHUNK - 1))
        return places, 1 << (bits - length)

    def _split(self, places: Places) -> None:
        """Entries that are no chunk yet become one that is the same all over."""
        found = np.unique(places)
        whole = found[(self._entries[found] & IN_CHUNK) == 0]
        if not len(whole):
            return
        numbers = np.arange(self.count, self.count + len(whole), dtype=np.int64)
        self.count += len(whole)
        self._make_room(TOP + self.count * CHUNK)
        inside = slice(TOP + int(numbers[0]) * CHUNK, TOP + self.count * CHUNK)
        self._entries[inside] = np.repeat(self._entries[whole], CHUNK)
        self._lengths[inside] = np.repeat(self._lengths[whole], CHUNK)
        self._entries[whole] = numbers.astype(np.uint32) | np.uint32(IN_CHUNK)
        self._note(whole)
        self.changed.update(numbers.tolist())

    def _make_room(self, size: int) -> None:
        if size > len(self._entries):
            room = max(size, 2 * len(self._entries)) - len(self._entries)
            self._entries = np.concatenate([self._entries, np.zeros(room, dtype=np.uint32)])
            self._lengths = np.concatenate([self._lengths, np.zeros(room, dtype=np.uint8)])
