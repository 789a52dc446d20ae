# SPDX-License-Identifier: GPL-2.0-only
"""Comparisons that hold however often one looks, where the usual ones do not."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import t

from iridescent_xdp.search.sequential import ERROR, anytime, error_at, not_surely_worse
from iridescent_xdp.statistics import Effect, pooled

LOOKS, ARMS, RUNS, WINDOWS = 8, 6, 300, 10
TRUE_NS = 7.0


def _effect(value: float, half: float, n: int = WINDOWS) -> Effect:
    return Effect(value=value, low=value - half, high=value + half, n=n, unit="ns")


def _interval(sample: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Effect:
    """Student's 99 % interval of a mean, as trials give it."""
    half = t.ppf(1 - ERROR / 2, len(sample) - 1) * sample.std(ddof=1) / math.sqrt(len(sample))
    return _effect(float(sample.mean()), float(half), len(sample))


def test_the_whole_error_is_spent_and_no_more() -> None:
    spent = [Fraction(1, k * (k + 1)) for k in range(1, 1000)]
    assert 0.99 < sum(spent) < 1
    for look, share in enumerate(spent[:50], start=1):
        assert error_at(look, 3) == pytest.approx(float(share) * ERROR / 3)


@pytest.mark.parametrize(("look", "arms"), [(0, 1), (1, 0)])
def test_looks_and_arms_count_from_one(look: int, arms: int) -> None:
    with pytest.raises(ValueError, match="look >= 1 and arms >= 1"):
        error_at(look, arms)


def test_the_first_look_of_one_arm_is_students_interval_at_half_the_error() -> None:
    sample = np.random.default_rng(1).normal(TRUE_NS, 2.0, 10)
    held = anytime(_interval(sample), look=1, arms=1)
    assert held.half_width == pytest.approx(
        t.ppf(1 - ERROR / 4, 9) * sample.std(ddof=1) / math.sqrt(10), rel=0.05
    )


def test_the_interval_grows_with_looks_and_arms() -> None:
    halves = [anytime(_effect(1, 1, 100), look=k, arms=a).half_width for k, a in
              [(1, 1), (2, 1), (5, 1), (5, 10), (50, 10)]]  # fmt: skip
    assert halves == sorted(halves) and halves[0] > 1


def test_the_best_arm_survives_all_looks_where_usual_intervals_lose_it() -> None:
    """Arms that are all alike, looked at again and again: whoever is dropped was dropped wrongly.

    The same looks with plain 99 % intervals lose the first arm many times as often.
    """
    rng = np.random.default_rng(7)
    lost, lost_plainly = 0, 0
    for _ in range(RUNS):
        samples = rng.normal(TRUE_NS, 2.0, (ARMS, LOOKS, WINDOWS))
        seen: list[list[Effect]] = [[] for _ in range(ARMS)]
        held = plain = True
        for look in range(LOOKS):
            for arm in range(ARMS):
                seen[arm].append(_interval(samples[arm, look]))
            known = {arm: pooled(effects) for arm, effects in enumerate(seen)}
            held &= 0 in not_surely_worse(known, dict.fromkeys(known, look + 1), ARMS)
            plain &= not any(_plainly_worse(known[0], effect) for effect in known.values())
        lost += not held
        lost_plainly += not plain
    assert lost / RUNS <= ERROR
    assert lost_plainly / RUNS > 2 * ERROR


def _plainly_worse(arm: Effect, other: Effect) -> bool:
    """The same comparison with 1 % error each time."""
    return other.value - arm.value > math.hypot(arm.half_width, other.half_width)


def test_what_is_much_worse_goes_at_the_first_look() -> None:
    known = {"best": _effect(20, 0.5), "close": _effect(19.5, 0.5), "bad": _effect(5, 0.5)}
    assert not_surely_worse(known, dict.fromkeys(known, 1), 24) == ["best", "close"]


def test_generic_is_known_without_a_look_and_drops_what_is_worse() -> None:
    known = {"generic": _effect(0, 0, 0), "worse": _effect(-9, 0.5), "better": _effect(9, 0.5)}
    looks = {"generic": 0, "worse": 1, "better": 1}
    assert not_surely_worse(known, looks, 3) == ["better"]
    del known["better"]
    assert not_surely_worse(known, looks, 3) == ["generic"]
    assert not_surely_worse({}, {}, 1) == []
