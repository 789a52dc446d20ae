# SPDX-License-Identifier: GPL-2.0-only
"""Windows of timed samples: the histogram of the C side, and a simulation of noisy arms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def spec_bucket(ns: int) -> int:
    """What iridescent_run.h does, step by step."""
    if ns < 512:
        return ns
    if ns >= 512 << 11:
        return 863
    shift = 0
    for _ in range(10):
        if ns >> (shift + 10):
            shift += 1
    return 512 + shift * 32 + ((ns >> (shift + 4)) & 31)


def counts_of(ns: NDArray[np.int64]) -> Counts:
    """Histograms of raw times, one row per window."""
    rows = [np.bincount(_buckets(row), minlength=864) for row in ns]
    return np.array(rows, dtype=np.int64)


def _buckets(ns: NDArray[np.int64]) -> NDArray[np.int64]:
    slow = ns[ns >= 512]
    octave = np.minimum(np.log2(np.maximum(slow, 512)).astype(np.int64) - 9, 10)
    buckets = ns.copy()
    buckets[ns >= 512] = np.minimum(512 + octave * 32 + (slow >> (octave + 4)) - 32, 863)
    return buckets


def constant(ns: int, windows: int = 12, samples: int = 100) -> Counts:
    return counts_of(np.full((windows, samples), ns))


def simulated(
    rng: np.random.Generator, gains_ns: list[float], windows: int = 20, samples: int = 2000
) -> list[Counts]:
    """Arms of one trial: 60 ns less their gain, and what disturbs them.

    Drift and a random effect per window, common to all arms; 0.5 ns per arm and window; samples
    spread by 8 ns; 2 % interrupts of 2 to 20 us.
    """
    common = np.cumsum(rng.normal(0, 0.3, windows)) + rng.normal(0, 1, windows)
    arms = []
    for gain_ns in gains_ns:
        level = 60 - gain_ns + common + rng.normal(0, 0.5, windows)
        times = level[:, None] + 8 * rng.standard_normal((windows, samples), dtype=np.float32)
        hit = rng.integers(times.size, size=rng.binomial(times.size, 0.02))
        times.ravel()[hit] += rng.uniform(2000, 20_000, len(hit))
        ns = np.maximum(np.rint(times), 0).astype(np.int64)
        places = (_buckets(ns) + np.arange(windows)[:, None] * 864).ravel()
        arms.append(np.bincount(places, minlength=windows * 864).reshape(windows, 864))
    return arms
