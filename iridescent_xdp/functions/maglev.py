# SPDX-License-Identifier: GPL-2.0-only
"""Maglev rings: which backend a new flow gets (Eisenbud et al., NSDI 2016, section 3.4).

Each backend has a permutation of the ring's places, from two hashes of its name. The backends
take turns; at its turn a backend takes the first place of its permutation that is free. With
weights, backend ``b`` takes a turn in round ``n`` (counted from 1) when
``floor(n * w / W) > floor((n - 1) * w / W)``, ``w`` its weight and ``W`` the largest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from iridescent_xdp.errors import ConfigError

RING_SIZE = 65_537  # prime; RING_SIZE of bpf/include/l4lb_tables.h
Ring = npt.NDArray[np.uint16]

MOST_PLACES = 1 << 18  # looked at together, of all backends
FEWEST = 16  # looked at together, of one backend
FEW_FREE = 64
TURNS_TOGETHER = 4096


def permutation_start(name: str) -> tuple[int, int]:
    """Offset and skip of a backend: its permutation is ``(offset + skip * n) % RING_SIZE``.

    The paper leaves the two hashes open; here they are the halves of BLAKE2b-128 of the name,
    read as big-endian numbers.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    first, second = int.from_bytes(digest[:8]), int.from_bytes(digest[8:])
    return first % RING_SIZE, second % (RING_SIZE - 1) + 1


@lru_cache(maxsize=128)
def maglev_ring(backends: tuple[tuple[str, int], ...]) -> Ring:
    """The ring of (name, weight) pairs: for each place the position in ``backends``.

    Order matters for ties, so callers sort by name. Raises ConfigError when there are no
    backends, a weight is not positive, a name comes twice, or there are more than places.
    """
    names = [name for name, _ in backends]
    if not 0 < len(names) <= RING_SIZE or min(weight for _, weight in backends) < 1:
        raise ConfigError(
            f"a ring has 1 to {RING_SIZE} backends with positive weights, got {backends[:4]}"
        )
    if len(set(names)) < len(names):
        raise ConfigError("a ring names each backend once, got the same name twice")
    ring = np.zeros(RING_SIZE, dtype=np.uint16)
    if len(backends) > 1:
        ring[:] = _Filler(names).filled([weight for _, weight in backends])
    ring.setflags(write=False)
    return ring


class _Filler:
    """Fills one ring. Each backend has a list of its next places that were free lately."""

    def __init__(self, names: list[str]) -> None:
        starts = np.array([permutation_start(name) for name in names], dtype=np.int64)
        self._offsets, self._skips = starts[:, :1], starts[:, 1:]
        self._next = np.zeros(len(names), dtype=np.int64)  # of each permutation, not looked at
        self._taken = bytearray(RING_SIZE)
        self._candidates: list[list[int]] = [[] for _ in names]
        self._free = RING_SIZE

    def filled(self, weights: list[int]) -> list[int]:
        """The ring, place by place."""
        ring = [0] * RING_SIZE
        taken, candidates = self._taken, self._candidates
        for backend in _turns(weights):
            mine = candidates[backend]
            while mine:
                place = mine.pop()
                if not taken[place]:
                    break
            else:
                place = self._first_free(backend)
            taken[place] = 1
            ring[place] = backend
            self._free -= 1
            if not self._free:
                return ring
        raise AssertionError("the turns never end")

    def _first_free(self, backend: int) -> int:
        """Of a backend whose candidates are used up. Mostly its fellows' soon are, so all that
        have few get new ones; near the end it is cheaper to look at the free places only."""
        if self._free <= max(FEW_FREE, len(self._candidates) // 4):
            return self._first_of_few(backend)
        need = max(2, self._free // (2 * len(self._candidates)))
        few = [i for i, mine in enumerate(self._candidates) if len(mine) <= max(8, need)]
        width = min(RING_SIZE, max(FEWEST, need * RING_SIZE // self._free))
        while not self._candidates[backend]:
            self._look_ahead(few if len(few) * width <= MOST_PLACES else [backend], width)
        return self._candidates[backend].pop()

    def _look_ahead(self, backends: list[int], width: int) -> None:
        """The free ones of the next ``width`` places of each of ``backends``."""
        chosen = np.array(backends)
        steps = self._next[chosen][:, None] + np.arange(width - 1, -1, -1)  # candidates pop
        places = (self._offsets[chosen] + self._skips[chosen] * steps) % RING_SIZE
        free = np.frombuffer(self._taken, dtype=np.uint8)[places] == 0
        self._next[chosen] += width
        fresh, at = places[free].tolist(), 0
        for backend, count in zip(backends, free.sum(axis=1).tolist(), strict=True):
            self._candidates[backend] = fresh[at : at + count] + self._candidates[backend]
            at += count

    def _first_of_few(self, backend: int) -> int:
        """The free place that comes first in the backend's permutation."""
        free = np.flatnonzero(np.frombuffer(self._taken, dtype=np.uint8) == 0)
        inverse = pow(int(self._skips[backend, 0]), -1, RING_SIZE)
        ranks = (free - self._offsets[backend, 0]) * inverse % RING_SIZE
        order = np.argsort(ranks)
        self._candidates[backend] = free[order[::-1]].tolist()
        return self._candidates[backend].pop()


def _turns(weights: list[int]) -> Iterator[int]:
    """Whose turn it is, for ever."""
    largest = max(weights)
    shares = np.array(weights, dtype=np.int64)
    rounds = max(1, TURNS_TOGETHER // len(weights))
    first = 1
    while True:
        number = np.arange(first, first + rounds)[:, None]
        takes = number * shares // largest > (number - 1) * shares // largest
        yield from np.nonzero(takes)[1].tolist()
        first += rounds
