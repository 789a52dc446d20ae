# SPDX-License-Identifier: GPL-2.0-only
"""Statistics against raw samples, printed tables, and a simulation of noisy windows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.statistics import (
    HISTOGRAM_BUCKETS,
    LOWER_NS,
    UPPER_NS,
    Candidate,
    Decision,
    Effect,
    bucket_of,
    decide,
    noise_floor,
    outlier_limit_ns,
    paired_difference,
    pooled,
    quantile,
    ratio,
    trimmed_mean,
)
from iridescent_xdp.template import bpf_directory

Counts = NDArray[np.int64]


def _spec_bucket(ns: int) -> int:
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


def _counts(ns: NDArray[np.int64]) -> Counts:
    """Histograms of raw times, one row per window."""
    rows = [np.bincount(_buckets(row), minlength=864) for row in ns]
    return np.array(rows, dtype=np.int64)


def _buckets(ns: NDArray[np.int64]) -> NDArray[np.int64]:
    slow = np.array([_spec_bucket(int(x)) for x in ns[ns >= 512]], dtype=np.int64)
    buckets = ns.copy()
    buckets[ns >= 512] = slow
    return buckets


def _constant(ns: int, windows: int = 12, samples: int = 100) -> Counts:
    return _counts(np.full((windows, samples), ns))


# Buckets


@given(st.one_of(st.integers(0, 3000), st.integers(0, 2**22), st.integers(0, 2**63)))
def test_bucket_is_the_one_of_the_c_side(ns: int) -> None:
    assert bucket_of(ns) == _spec_bucket(ns)


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
    assert quantile(_counts(np.array([samples])), q) == expected


@given(st.lists(st.integers(512, 2**20 - 1), min_size=1, max_size=200), st.floats(0, 1))
def test_quantile_is_within_a_bucket_above(samples: list[int], q: float) -> None:
    expected = int(np.quantile(samples, q, method="inverted_cdf"))
    bucket = _spec_bucket(expected)
    assert LOWER_NS[bucket] <= quantile(_counts(np.array([samples])), q) < UPPER_NS[bucket]


def test_quantile_interpolates_in_wide_buckets() -> None:
    samples = np.arange(4096, 8192)  # each of 32 buckets of 128 ns evenly filled
    for q in (0.1, 0.503, 0.77):
        expected = np.quantile(samples, q)
        assert quantile(_counts(samples[None, :]), q) == pytest.approx(expected, abs=1.5)


def test_no_samples_no_result() -> None:
    nothing = np.zeros((3, 864), dtype=np.int64)
    for statistic in (lambda c: quantile(c, 0.5), trimmed_mean):
        with pytest.raises(MeasurementError, match="no samples"):
            statistic(nothing)
    with pytest.raises(ValueError, match="q <= 1"):
        quantile(_constant(60), 1.5)


def test_mean_leaves_interrupts_out_and_keeps_guard_misses() -> None:
    # 3 % of the packets miss a guard and take 130 ns, 1 % are interrupted for 10 us
    samples = np.array([[60] * 960 + [130] * 30 + [10_000] * 10])
    assert outlier_limit_ns(_counts(samples)) == 4 * 60
    assert trimmed_mean(_counts(samples)) == pytest.approx((60 * 960 + 130 * 30) / 990)


def test_limit_is_that_of_the_slowest_arm() -> None:
    assert outlier_limit_ns(_constant(18), _constant(400)) == 1600


# Two arms


def test_difference_has_students_interval() -> None:
    # per-window differences 0, 1, .. 10 ns; t(0.995, 10) = 3.169 in printed tables
    rows = np.arange(11)
    a, b = _counts(np.tile(100 + rows[:, None], 50)), _constant(100, windows=11, samples=50)
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
        _counts(np.tile(rows[:, None], 20)), _constant(100, windows=windows, samples=20)
    )
    standard_error = np.std(rows, ddof=1) / np.sqrt(windows)
    assert effect.half_width == pytest.approx(t * standard_error, rel=1e-3)
    assert effect.reliable == (windows >= 9)


def test_windows_weigh_by_their_samples() -> None:
    a, b = _constant(100), _constant(90)
    a[0], b[0] = _constant(200, 1, 1)[0], _constant(90, 1, 1)[0]  # one sample says 110 ns
    assert paired_difference(a, b).value == pytest.approx((11 * 50 * 10 + 0.5 * 110) / 550.5)


def test_windows_without_samples_of_both_are_not_used() -> None:
    a, b = _constant(100), _constant(90)
    a[0], b[1] = 0, 0
    effect = paired_difference(a, b)
    assert (effect.value, effect.n) == (10, 10)


def test_common_movement_cancels_out() -> None:
    drift = np.arange(20)[:, None] * 5
    a, b = _counts(np.full((20, 100), 103) + drift), _counts(np.full((20, 100), 100) + drift)
    assert paired_difference(a, b).low == pytest.approx(3)
    assert paired_difference(a, b).high == pytest.approx(3)


def test_incomparable_arms_are_refused() -> None:
    with pytest.raises(MeasurementError, match="share their windows"):
        paired_difference(_constant(100), _constant(100, windows=11))
    with pytest.raises(MeasurementError, match=r"2 windows.*got 1"):
        paired_difference(_constant(100, windows=1), _constant(100, windows=1))


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


# Deciding


def _simulated(
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
        buckets, slow = ns.copy(), ns >= 512
        buckets[slow] = np.searchsorted(UPPER_NS, ns[slow], side="right")
        places = (buckets + np.arange(windows)[:, None] * 864).ravel()
        arms.append(np.bincount(places, minlength=windows * 864).reshape(windows, 864))
    return arms


def _decide(arms: list[Counts], deviations: list[int] | None = None) -> Decision:
    generic, twin, *others = arms
    deviations = deviations or [1] * len(others)
    names = "abcdefgh"
    return decide(
        generic,
        twin,
        [
            Candidate(name=name, windows=windows, deviations=count)
            for name, windows, count in zip(names, others, deviations, strict=False)
        ],
    )


def test_generic_against_itself_never_swaps() -> None:
    rng = np.random.default_rng(11)
    swaps = [_decide(_simulated(rng, [0, 0, 0])).winner for _ in range(1000)]
    assert sum(winner is not None for winner in swaps) <= 1


def test_a_small_gain_is_found() -> None:
    rng = np.random.default_rng(12)
    found = [_decide(_simulated(rng, [0, 0, 3])).winner for _ in range(200)]
    assert sum(winner == "a" for winner in found) > 190


def test_the_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(13)
    hits = 0
    for _ in range(300):
        gain = _decide(_simulated(rng, [0, 0, 3], samples=500)).gains["a"]
        hits += gain.low <= 3 <= gain.high
    assert 290 <= hits <= 300


def test_the_best_candidate_wins() -> None:
    decision = _decide(_simulated(np.random.default_rng(14), [0, 0, 5, 20, -4]))
    assert decision.winner == "b"
    assert {name: round(e.value) for name, e in decision.gains.items()} == {
        "a": 5, "b": 20, "c": -4
    }  # fmt: skip
    assert re.match(r"b saves (19|20)\.\d\d ns \(.* to .*, n=20\) of \d\d\.", decision.reason)


def test_among_ties_the_simplest_wins() -> None:
    arms = _simulated(np.random.default_rng(15), [0, 0, 20, 20.05, 12])
    assert _decide(arms, [2, 3, 1]).winner == "a"
    assert _decide(arms, [3, 2, 1]).winner == "b"
    best = max("ab", key=lambda name: _decide(arms).gains[name].value)
    other = "ab".replace(best, "")
    decision = _decide(arms, [3 - 2 * (name == other) for name in "ab"] + [0])
    assert decision.winner == other
    assert f", ties with {best} and deviates less from generic" in decision.reason
    assert _decide(arms, [2, 2, 1]).winner == best


def test_a_gain_below_one_percent_is_not_worth_a_swap() -> None:
    decision = _decide([_constant(200), _constant(200), _constant(199)])
    assert decision.winner is None
    assert decision.needed_ns == pytest.approx(2)
    assert _decide([_constant(200), _constant(200), _constant(197)]).winner == "a"


def test_a_gain_within_the_noise_floor_is_no_gain() -> None:
    decision = _decide([_constant(200), _constant(190), _constant(191)])
    assert decision.noise_floor_ns == pytest.approx(10)
    assert decision.winner is None
    assert "not surely enough" in decision.reason
    assert _decide([_constant(200), _constant(210), _constant(191)]).winner is None


def test_noise_floor_is_mean_and_half_width() -> None:
    rows = np.where(np.arange(10) % 2, 98, 106)  # mean 102, deviation 4.216; t(0.995, 9) = 3.250
    twin = _counts(np.tile(rows[:, None], 20))
    expected = 2 + 3.250 * np.std(rows, ddof=1) / np.sqrt(10)
    for arms in ((_constant(100, 10, 20), twin), (twin, _constant(100, 10, 20))):
        assert noise_floor(*arms) == pytest.approx(expected, rel=1e-3)


def test_too_few_windows_never_swap() -> None:
    arms = [_constant(ns, windows=8) for ns in (200, 200, 100)]
    decision = _decide(arms)
    assert decision.winner is None
    assert "9 windows are needed" in decision.reason
    assert not decision.gains["a"].reliable


def test_no_candidate_keeps_generic() -> None:
    decision = _decide([_constant(200), _constant(200)])
    assert decision.winner is None
    assert decision.reason.startswith("generic stays: there is no candidate; needed: 2.00 ns")
