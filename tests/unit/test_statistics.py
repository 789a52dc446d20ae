# SPDX-License-Identifier: GPL-2.0-only
"""Statistics against raw samples and printed tables."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.statistics import (
    HISTOGRAM_BUCKETS,
    LOWER_NS,
    UPPER_NS,
    Candidate,
    Effect,
    bucket_of,
    decide,
    outlier_limit_ns,
    paired_difference,
    pooled,
    quantile,
    ratio,
    trimmed_mean,
)
from iridescent_xdp.template import bpf_directory
from tests.unit.window_model import constant, counts_of, spec_bucket

# Buckets


@given(st.one_of(st.integers(0, 3000), st.integers(0, 2**22), st.integers(0, 2**63)))
def test_bucket_is_the_one_of_the_c_side(ns: int) -> None:
    assert bucket_of(ns) == spec_bucket(ns)


@given(st.integers(0, 2**20 - 1))
def test_bounds_enclose_their_times(ns: int) -> None:
    bucket = bucket_of(ns)
    assert LOWER_NS[bucket] <= ns < UPPER_NS[bucket]


def test_buckets_leave_no_gap() -> None:
    assert len(LOWER_NS) == len(UPPER_NS) == HISTOGRAM_BUCKETS == 864
    assert LOWER_NS[0] == 0 and UPPER_NS[-1] == 2**20
    assert np.array_equal(LOWER_NS[1:], UPPER_NS[:-1])


def test_the_header_has_the_same_shape() -> None:
    text = (bpf_directory() / "include" / "iridescent_run.h").read_text()
    found = dict(re.findall(r"#define (SPEC_\w+)\s+(\d+)", text))
    fine, sub, octaves = (int(found[f"SPEC_{n}"]) for n in ("FINE_NS", "SUBBUCKETS", "OCTAVES"))
    assert (fine, fine + sub * octaves) == (512, HISTOGRAM_BUCKETS)


def test_a_negative_time_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 ns"):
        bucket_of(-1)


# One arm


@given(
    st.lists(st.integers(0, 511), min_size=1, max_size=200),
    st.floats(0, 1),
)
def test_quantile_is_exact_below_512_ns(samples: list[int], q: float) -> None:
    expected = np.quantile(samples, q, method="inverted_cdf")
    assert quantile(counts_of(np.array([samples])), q) == expected


@given(st.lists(st.integers(512, 2**20 - 1), min_size=1, max_size=200), st.floats(0, 1))
def test_quantile_is_within_a_bucket_above(samples: list[int], q: float) -> None:
    expected = int(np.quantile(samples, q, method="inverted_cdf"))
    bucket = spec_bucket(expected)
    assert LOWER_NS[bucket] <= quantile(counts_of(np.array([samples])), q) < UPPER_NS[bucket]


def test_quantile_interpolates_in_wide_buckets() -> None:
    samples = np.arange(4096, 8192)  # each of 32 buckets of 128 ns evenly filled
    for q in (0.1, 0.503, 0.77):
        expected = np.quantile(samples, q)
        assert quantile(counts_of(samples[None, :]), q) == pytest.approx(expected, abs=1.5)


def test_a_lone_sample_is_in_the_middle_of_its_bucket() -> None:
    assert quantile(counts_of(np.array([[5000]])), 0.5) == (4992 + 5119) / 2


def test_no_samples_no_result() -> None:
    nothing = np.zeros((3, 864), dtype=np.int64)
    for statistic in (lambda c: quantile(c, 0.5), trimmed_mean):
        with pytest.raises(MeasurementError, match="no samples"):
            statistic(nothing)
    with pytest.raises(ValueError, match="q <= 1"):
        quantile(constant(60), 1.5)


def test_mean_leaves_interrupts_out_and_keeps_guard_misses() -> None:
    # 3 % of the packets miss a guard and take 130 ns, 1 % are interrupted for 10 us
    samples = np.array([[60] * 960 + [130] * 30 + [10_000] * 10])
    assert outlier_limit_ns(counts_of(samples)) == 4 * 60
    assert trimmed_mean(counts_of(samples)) == pytest.approx((60 * 960 + 130 * 30) / 990)


def test_limit_is_that_of_the_slowest_arm() -> None:
    assert outlier_limit_ns(constant(18), constant(400)) == 1600


# Two arms


def test_difference_has_students_interval() -> None:
    # per-window differences 0, 1, .. 10 ns; t(0.995, 10) = 3.169 in printed tables
    rows = np.arange(11)
    a, b = counts_of(np.tile(100 + rows[:, None], 50)), constant(100, windows=11, samples=50)
    effect = paired_difference(a, b)
    half = 3.169 * np.std(rows, ddof=1) / np.sqrt(11)
    assert effect.value == pytest.approx(5)
    assert effect.low == pytest.approx(5 - half, rel=1e-3)
    assert effect.high == pytest.approx(5 + half, rel=1e-3)
    assert (effect.n, effect.unit, effect.reliable) == (11, "ns", True)


@pytest.mark.parametrize(
    ("windows", "t"), [(2, 63.657), (3, 9.925), (9, 3.355), (10, 3.250), (21, 2.845), (61, 2.660)]
)
def test_students_t_as_printed(windows: int, t: float) -> None:
    rows = np.where(np.arange(windows) % 2, 90, 110)
    effect = paired_difference(
        counts_of(np.tile(rows[:, None], 20)), constant(100, windows=windows, samples=20)
    )
    standard_error = np.std(rows, ddof=1) / np.sqrt(windows)
    assert effect.half_width == pytest.approx(t * standard_error, rel=1e-3)
    assert effect.reliable == (windows >= 9)


def test_windows_weigh_by_their_samples() -> None:
    a, b = constant(100), constant(90)
    a[0], b[0] = constant(200, 1, 1)[0], constant(90, 1, 1)[0]  # one sample says 110 ns
    assert paired_difference(a, b).value == pytest.approx((11 * 50 * 10 + 0.5 * 110) / 550.5)


def test_windows_without_samples_of_both_are_not_used() -> None:
    a, b = constant(100), constant(90)
    a[0], b[1] = 0, 0
    effect = paired_difference(a, b)
    assert (effect.value, effect.n) == (10, 10)


def test_common_movement_cancels_out() -> None:
    drift = np.arange(20)[:, None] * 5
    a, b = counts_of(np.full((20, 100), 103) + drift), counts_of(np.full((20, 100), 100) + drift)
    assert paired_difference(a, b).low == pytest.approx(3)
    assert paired_difference(a, b).high == pytest.approx(3)


def test_incomparable_arms_are_refused() -> None:
    with pytest.raises(MeasurementError, match="share their windows"):
        paired_difference(constant(100), constant(100, windows=11))
    with pytest.raises(MeasurementError, match=r"2 windows.*got 1"):
        paired_difference(constant(100, windows=1), constant(100, windows=1))


def test_effect_refuses_a_value_outside_its_interval() -> None:
    with pytest.raises(MeasurementError, match="low <= value <= high"):
        Effect(value=3, low=0, high=2, n=9, unit="ns")
    with pytest.raises(MeasurementError):
        Effect(value=float("nan"), low=0, high=2, n=9, unit="ns")


def _effect(value: float, half: float, n: int = 10) -> Effect:
    return Effect(value=value, low=value - half, high=value + half, n=n, unit="ns")


def test_pooling_weighs_by_precision() -> None:
    both = pooled([_effect(10, 2), _effect(10.5, 1)])
    assert both.value == pytest.approx((10 / 4 + 10.5) / (1 / 4 + 1))
    assert both.half_width == pytest.approx((1 / 4 + 1) ** -0.5)
    assert both.n == 20
    assert pooled([_effect(10, 2)]) == _effect(10, 2)
    with pytest.raises(MeasurementError, match="nothing was measured"):
        pooled([])


def test_pooling_shows_a_contradiction() -> None:
    assert pooled([_effect(10, 1), _effect(30, 1)]).half_width > 10


# Ratios


def test_ratio_of_interleaved_repetitions() -> None:
    rng = np.random.default_rng(5)
    drift = rng.uniform(1, 2, 15)  # common to both
    found = ratio(list(300 * drift), list(100 * drift))
    assert found.value == pytest.approx(3)
    assert found.low == pytest.approx(3) and found.high == pytest.approx(3)
    assert (found.n, found.unit, found.reliable) == (15, "ratio", True)


def test_ratio_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for seed in range(200):
        found = ratio(list(rng.normal(200, 10, 15)), list(rng.normal(100, 5, 15)), seed)
        hits += found.low <= 2 <= found.high
        assert found.high - found.low < 0.5
    assert hits >= 190


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0] * 3, [1.0] * 4, "got 3 and 4"),
        ([1.0], [1.0], "2 or more"),
        ([1.0, 0.0], [1.0, 1.0], "above 0"),
    ],
)
def test_ratio_refuses(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        ratio(a, b)


def test_surely_slower_by_more_than_2_percent_is_no_tie() -> None:
    """Generic differs from itself by 5 ns, which says little about what takes 50."""
    best = Candidate(name="best", windows=constant(50), deviations=3)
    for other_ns, winner in ((53, "best"), (51, "simple")):
        simple = Candidate(name="simple", windows=constant(other_ns), deviations=1)
        assert decide(constant(130), constant(125), [best, simple]).winner == winner
