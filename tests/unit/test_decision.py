# SPDX-License-Identifier: GPL-2.0-only
"""When a candidate replaces the generic variant: rules, false alarms, power."""

from __future__ import annotations

import re

import numpy as np
import pytest

from iridescent_xdp.statistics import Candidate, Decision, decide, noise_floor
from tests.unit.window_model import Counts, constant, counts_of, simulated


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
    swaps = [_decide(simulated(rng, [0, 0, 0])).winner for _ in range(1000)]
    assert sum(winner is not None for winner in swaps) <= 1


def test_a_small_gain_is_found() -> None:
    rng = np.random.default_rng(12)
    found = [_decide(simulated(rng, [0, 0, 3])).winner for _ in range(200)]
    assert sum(winner == "a" for winner in found) > 190


def test_the_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(13)
    hits = 0
    for _ in range(300):
        gain = _decide(simulated(rng, [0, 0, 3], samples=500)).gains["a"]
        hits += gain.low <= 3 <= gain.high
    assert 290 <= hits <= 300


def test_the_best_candidate_wins() -> None:
    decision = _decide(simulated(np.random.default_rng(14), [0, 0, 5, 20, -4]))
    assert decision.winner == "b"
    assert {name: round(e.value) for name, e in decision.gains.items()} == {
        "a": 5, "b": 20, "c": -4
    }  # fmt: skip
    assert re.match(r"b saves (19|20)\.\d\d ns \(.* to .*, n=20\) of \d\d\.", decision.reason)


def test_among_ties_the_simplest_wins() -> None:
    arms = simulated(np.random.default_rng(15), [0, 0, 20, 20.05, 12])
    assert _decide(arms, [2, 3, 1]).winner == "a"
    assert _decide(arms, [3, 2, 1]).winner == "b"
    best = max("ab", key=lambda name: _decide(arms).gains[name].value)
    other = "ab".replace(best, "")
    decision = _decide(arms, [3 - 2 * (name == other) for name in "ab"] + [0])
    assert decision.winner == other
    assert f", ties with {best} and deviates less from generic" in decision.reason
    assert _decide(arms, [2, 2, 1]).winner == best


def test_within_the_noise_floor_of_the_best_is_a_tie() -> None:
    generic, twin, best = constant(200), constant(203), constant(100)  # noise floor 3 ns
    assert _decide([generic, twin, best, constant(102)], [3, 1]).winner == "b"
    assert _decide([generic, twin, best, constant(104)], [3, 1]).winner == "a"


def test_the_lower_bound_counts_not_the_gain() -> None:
    # saves 40 or -20 ns in turn: 10 on average, +- 28
    unsteady = counts_of(np.tile(np.where(np.arange(12) % 2, 160, 220)[:, None], 20))
    decision = _decide([constant(200), constant(200), unsteady])
    assert decision.gains["a"].value == pytest.approx(10) and decision.needed_ns < 7
    assert decision.winner is None


def test_a_gain_below_three_percent_is_not_worth_a_swap() -> None:
    decision = _decide([constant(200), constant(200), constant(195)])
    assert decision.winner is None
    assert decision.needed_ns == pytest.approx(6)
    assert _decide([constant(200), constant(200), constant(193)]).winner == "a"


def test_a_gain_within_the_noise_floor_is_no_gain() -> None:
    decision = _decide([constant(200), constant(190), constant(191)])
    assert decision.noise_floor_ns == pytest.approx(10)
    assert decision.winner is None
    assert "not surely enough" in decision.reason
    assert _decide([constant(200), constant(210), constant(191)]).winner is None


def test_noise_floor_is_mean_and_half_width() -> None:
    rows = np.where(np.arange(10) % 2, 98, 106)  # mean 102, deviation 4.216; t(0.995, 9) = 3.250
    twin = counts_of(np.tile(rows[:, None], 20))
    expected = 2 + 3.250 * np.std(rows, ddof=1) / np.sqrt(10)
    for arms in ((constant(100, 10, 20), twin), (twin, constant(100, 10, 20))):
        assert noise_floor(*arms) == pytest.approx(expected, rel=1e-3)


def test_too_few_windows_never_swap() -> None:
    arms = [constant(ns, windows=8) for ns in (200, 200, 100)]
    decision = _decide(arms)
    assert decision.winner is None
    assert "9 windows are needed" in decision.reason
    assert not decision.gains["a"].reliable


def test_no_candidate_keeps_generic() -> None:
    decision = _decide([constant(200), constant(200)])
    assert decision.winner is None
    assert decision.reason.startswith("generic stays: there is no candidate; needed: 6.00 ns")
