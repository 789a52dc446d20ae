# SPDX-License-Identifier: GPL-2.0-only
"""Arms that are stopped inside a batch: at once if they are far worse, never by chance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from iridescent_xdp.errors import ConfigError, MeasurementError
from iridescent_xdp.search.early import bounds_ns, far_worse, hopeless
from iridescent_xdp.search.policy import Outcome, SearchSettings, Status
from iridescent_xdp.statistics import HISTOGRAM_BUCKETS, bucket_of
from tests.unit.landscape_model import SPACE_24

SETTINGS = SearchSettings()
GENERIC_NS = 100.0
# One window of 20 ms at a million packets per second and arm, of which one in 8 is timed.
SAMPLES = 2500


def _window(mean_ns: float, samples: int = SAMPLES, seed: int = 0) -> NDArray[np.int64]:
    """Times as a fast path has them: a narrow bulk, a tail of cache misses, some interrupts."""
    rng = np.random.default_rng(seed)
    bulk = rng.gamma(25, mean_ns * 0.92 / 25, samples)
    tail = (rng.random(samples) < 0.05) * rng.exponential(mean_ns * 1.6, samples)
    interrupts = (rng.random(samples) < 0.001) * 8000.0
    counts = np.zeros(HISTOGRAM_BUCKETS, dtype=np.int64)
    for time in bulk + tail + interrupts:
        counts[bucket_of(int(time))] += 1
    return counts


@pytest.mark.parametrize(
    ("low", "high", "stops"),
    [(151, 100, True), (150, 100, False), (149, 100, False), (80, 100, False), (151, 101, False)],
)
def test_the_lower_end_has_to_exceed_the_ratio_of_the_upper(
    low: float, high: float, stops: bool
) -> None:
    assert hopeless(low, high, SETTINGS) is stops


def test_the_ratio_is_a_setting() -> None:
    assert hopeless(130, 100, SearchSettings(worse_ratio=1.2))
    assert not hopeless(290, 100, SearchSettings(worse_ratio=3.0))
    with pytest.raises(ConfigError, match=r"worse_ratio > 1 must hold, got 1\.0"):
        SearchSettings(worse_ratio=1.0)


@pytest.mark.parametrize("factor", [2.0, 3.0, 10.0, 100.0])
def test_one_window_is_enough_for_what_is_twice_as_slow(factor: float) -> None:
    assert all(
        far_worse(_window(GENERIC_NS, seed=s), _window(factor * GENERIC_NS, seed=s + 99), SETTINGS)
        for s in range(5)
    )


def test_nobody_is_stopped_by_chance_in_a_long_search() -> None:
    """200 windows of arms up to 1.4 times as slow, of which some brought few samples."""
    for seed in range(200):
        samples = (70, 300, SAMPLES)[seed % 3]
        factor = (0.5, 1.0, 1.2, 1.4)[seed % 4]
        generic, arm = (
            _window(GENERIC_NS, samples, seed),
            _window(factor * GENERIC_NS, samples, seed + 1000),
        )
        assert not far_worse(generic, arm, SETTINGS)


def test_few_samples_stop_nobody() -> None:
    slow = _window(100 * GENERIC_NS, 40)
    assert not far_worse(_window(GENERIC_NS), slow, SETTINGS)
    assert not far_worse(np.zeros(HISTOGRAM_BUCKETS, dtype=np.int64), slow, SETTINGS)


def test_an_interrupt_is_not_the_arms_fault() -> None:
    arm = _window(GENERIC_NS)
    arm[bucket_of(900_000)] += 20  # a hundred samples' time each, ten thousand times over
    assert not far_worse(_window(GENERIC_NS, seed=5), arm, SETTINGS)


def test_windows_add_up() -> None:
    generic, arm = (
        np.stack([_window(ns, 70, seed) for seed in range(20)]) for ns in (100.0, 220.0)
    )
    assert not far_worse(generic[:1], arm[:1], SETTINGS)
    assert far_worse(generic, arm, SETTINGS)


def test_bounds_hold_the_mean() -> None:
    counts = np.zeros(HISTOGRAM_BUCKETS, dtype=np.int64)
    counts[50], counts[70] = 600, 200
    low, high = bounds_ns(counts, 1000)
    assert low < 55 < high
    assert high - low == pytest.approx(2 * 5 * np.sqrt(75 / (800 / 4)))
    assert bounds_ns(counts, 60) == (50, 50)
    assert bounds_ns(counts, 10) == (0, np.inf)


def test_only_a_measured_arm_was_stopped() -> None:
    with pytest.raises(MeasurementError, match="only a measured arm can be stopped, got failed"):
        Outcome(variant=SPACE_24.generic, status=Status.FAILED, stopped=True)
