# SPDX-License-Identifier: GPL-2.0-only
"""Maglev rings against the paper's pseudocode, their shares, and what a removal disturbs."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.maglev import RING_SIZE, maglev_ring
from tests.unit.l4lb_model import paper_ring

MOVED_MOST = 0.01  # of the entries of the other backends; 0.9 % at most were measured


def named(count: int, weight: int = 0) -> tuple[tuple[str, int], ...]:
    """Backends of weight 1, or with ``weight`` of 1 to that."""
    return tuple(
        (f"10.1.{n >> 8}.{n & 255}", 1 + n % weight if weight else 1) for n in range(count)
    )


@pytest.mark.parametrize(
    "backends",
    [
        named(1), named(2), named(3), named(7, 3), named(100), named(40, 9), named(650),
        (("a", 65535), ("b", 1)), (("a", 2), ("b", 2)), (("x", 1), ("y", 100), ("z", 7)),
    ],
    ids=lambda backends: f"{len(backends)}-{max(w for _, w in backends)}",
)  # fmt: skip
def test_ring_is_the_papers(backends: tuple[tuple[str, int], ...]) -> None:
    assert maglev_ring(backends).tolist() == paper_ring(backends)


@pytest.mark.parametrize("backends", [named(100), named(30, 5), (("a", 300), ("b", 100))])
def test_shares_follow_weights(backends: tuple[tuple[str, int], ...]) -> None:
    total = sum(weight for _, weight in backends)
    counted = Counter(maglev_ring(backends).tolist())
    for place, (_, weight) in enumerate(backends):
        assert counted[place] == pytest.approx(RING_SIZE * weight / total, abs=2 + 5 * weight)


@pytest.mark.parametrize("count", [3, 10, 100, 600])
@pytest.mark.parametrize("gone", ["first", "middle", "last"])
def test_removing_a_backend_moves_few_other_entries(count: int, gone: str) -> None:
    backends = named(count)
    out = {"first": 0, "middle": count // 2, "last": count - 1}[gone]
    kept = [place for place in range(count) if place != out]
    before = maglev_ring(backends).astype(int)
    after = np.array(kept)[maglev_ring(tuple(backends[place] for place in kept))]
    assert not (after == out).any()
    others = before != out
    moved = float((before[others] != after[others]).mean())
    assert 0 < moved < MOVED_MOST


def test_ring_is_built_fast() -> None:
    """The bound is 100 ms; 20 to 50 ms were measured. CPU time, as the machine may be shared."""
    for count in (2, 100, 1000):
        spent = []
        for turn in range(3):
            backends = tuple((f"{name}-{turn}", weight) for name, weight in named(count))
            began = time.thread_time()
            maglev_ring(backends)
            spent.append(time.thread_time() - began)
        assert min(spent) < 0.1


def test_ring_cannot_be_changed_by_its_user() -> None:
    ring = maglev_ring(named(2))
    with pytest.raises(ValueError, match="read-only"):
        ring[0] = 7


@pytest.mark.parametrize(
    ("backends", "says"),
    [
        ((), "1 to 65537"),
        ((("a", 0), ("b", 1)), "positive weights"),
        ((("a", 1), ("a", 1)), "same name twice"),
    ],
)
def test_mistakes(backends: tuple[tuple[str, int], ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        maglev_ring(backends)
