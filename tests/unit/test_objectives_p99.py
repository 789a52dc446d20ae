# SPDX-License-Identifier: GPL-2.0-only
"""The 99 % quantile as an objective: what it sees, how sure it is, what it costs to compute."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.objectives.p99 import P99, _drawn_quantiles, quantile_difference
from iridescent_xdp.objectives.time_per_packet import TimePerPacket
from iridescent_xdp.statistics import quantile
from tests.unit.test_objectives import judged, result
from tests.unit.window_model import constant, counts_of, simulated


def times(rng: np.random.Generator, tail_ns: float, windows: int = 15) -> NDArray[np.int64]:
    """60 ns for most packets; 2 of 100 take ``tail_ns`` more."""
    ns = rng.normal(60, 4, (windows, 3000)) + tail_ns * (rng.random((windows, 3000)) < 0.02)
    return np.rint(np.maximum(ns, 1)).astype(np.int64)


def test_p99_sees_a_tail_that_the_mean_does_not() -> None:
    rng = np.random.default_rng(5)
    slow, again, fast = times(rng, 200), times(rng, 200), times(rng, 100)
    arms = [result(counts_of(ns)) for ns in (slow, again, fast)]
    assert judged(TimePerPacket(), arms).winner is None  # 2 ns of 64 are not worth it
    found = judged(P99(), arms)
    truth = np.quantile(slow, 0.99) - np.quantile(fast, 0.99)
    assert found.winner == "a" and found.unit == "ns"
    assert found.gains["a"].low <= truth <= found.gains["a"].high
    assert found.gains["a"].value == pytest.approx(truth, abs=2)
    assert found.generic == pytest.approx(np.quantile(slow, 0.99), abs=1)


def test_the_interval_of_p99_covers_the_truth_99_times_of_100() -> None:
    """The truth: quantiles of three million packets."""
    rng = np.random.default_rng(11)
    big = [np.quantile(times(rng, tail, windows=1000), 0.99) for tail in (150, 100)]
    truth, missed = big[0] - big[1], 0
    for _ in range(100):
        arms = [counts_of(times(rng, tail, windows=9)) for tail in (150, 100)]
        effect = quantile_difference(arms[0], arms[1], 0.99)
        missed += not effect.low - 1 <= truth <= effect.high + 1  # a bucket is 1 ns wide
    assert missed <= 3


def test_p99_of_generic_against_itself_is_never_swapped() -> None:
    rng = np.random.default_rng(3)
    swaps = 0
    for _ in range(30):
        arms = simulated(rng, [0.0] * 4, windows=12, samples=600)
        swaps += judged(P99(), [result(windows) for windows in arms]).winner is not None
    assert swaps == 0


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_the_quantile_of_a_draw_is_that_of_its_windows(seed: int, q: float) -> None:
    rng = np.random.default_rng(seed)
    windows = rng.integers(0, 3, (4, 864)) * (rng.random((4, 864)) < 0.02)
    windows[:, rng.integers(864)] += 1
    picks = rng.multinomial(4, [0.25] * 4, 5)
    wanted = [quantile(np.repeat(windows, times, axis=0), q) for times in picks]
    found = _drawn_quantiles(picks.astype(float), windows.astype(float), q)
    assert found == pytest.approx(wanted)


def test_p99_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(MeasurementError, match="two arms share their windows"):
        quantile_difference(constant(50, windows=9), constant(50, windows=10), 0.99)
    lone = constant(50, windows=9)
    lone[1:] = 0
    with pytest.raises(MeasurementError, match="2 windows with samples of both arms"):
        quantile_difference(lone, constant(50, windows=9), 0.99)
