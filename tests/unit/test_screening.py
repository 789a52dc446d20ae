# SPDX-License-Identifier: GPL-2.0-only
"""Screening: what it spends, what it combines, and that interactions do not fool it."""

from __future__ import annotations

import numpy as np
import pytest

from iridescent_xdp.search.policy import SearchSettings
from iridescent_xdp.search.screening import ScreeningPolicy
from iridescent_xdp.search.space import Space
from iridescent_xdp.variant import Variant
from tests.unit.landscape_model import SPACE_864, Landscape, regret_ns, run, space_of


def _asked(space: Space, landscape: Landscape, **settings: int) -> list[Variant]:
    policy = ScreeningPolicy(space, SearchSettings(**settings))  # type: ignore[arg-type]
    return [t.variant for batch in run(policy, landscape.measure) for t in batch]


def _tens(pays: int, seed: int = 0) -> tuple[Space, Landscape]:
    """Fourteen points with four values; one value of the first ``pays`` points pays."""
    space = space_of(*[4] * 14)
    gains = {(f"p{i}", 1 + i % 3): 3.0 + i for i in range(pays)}
    return space, Landscape(gains, seed=seed)


def test_each_value_is_seen_alone_first() -> None:
    space, landscape = _tens(5)
    asked = _asked(space, landscape)
    assert set(asked[:42]) == set(space.neighbours(space.generic))


def test_what_pays_is_combined_and_what_does_not_is_left_out() -> None:
    for seed in range(4):
        space, landscape = _tens(5, seed)
        policy = ScreeningPolicy(space, SearchSettings(seed=seed))
        run(policy, landscape.measure)
        wanted = space.generic.with_values(**{f"p{i}": 1 + i % 3 for i in range(5)})
        assert wanted in dict(policy.ranking())
        assert policy.ranking()[0][1].value > landscape.gain_ns(wanted) - 1


def test_trials_grow_with_the_values_and_not_with_the_space() -> None:
    for points in (6, 12):
        space = space_of(*[4] * points)
        gains = {(f"p{i}", 2): 5.0 for i in range(0, points, 3)}
        policy = ScreeningPolicy(space)
        run(policy, Landscape(gains).measure)
        assert policy.trials_used <= 3 * 3 * points + 60
        assert policy.ranking()[0][1].value > 0.98 * sum(gains.values())


def test_two_that_save_the_same_thing_are_not_both_kept() -> None:
    # p1 and p2 are two caches of one look-up: each saves 20 ns, both together 17
    gains = {("p0", 1): 6.0, ("p1", 1): 20.0, ("p2", 1): 20.0}
    pair = {(("p1", 1), ("p2", 1)): -23.0}
    for seed in range(10):
        landscape = Landscape(gains, pair, seed=seed)
        policy = ScreeningPolicy(SPACE_864, SearchSettings(seed=seed))
        run(policy, landscape.measure)
        assert regret_ns(policy, SPACE_864, landscape) <= 1


def test_what_pays_only_behind_another_is_found_in_the_check() -> None:
    gains = {("p0", 1): 9.0, ("p3", 1): 4.0}
    pair = {(("p0", 1), ("p5", 2)): 8.0}
    found = 0
    for seed in range(10):
        landscape = Landscape(gains, pair, seed=seed)
        policy = ScreeningPolicy(SPACE_864, SearchSettings(seed=seed))
        run(policy, landscape.measure)
        found += regret_ns(policy, SPACE_864, landscape) <= 1
    assert found >= 9


@pytest.mark.parametrize("limit", [12, 25])
def test_a_fraction_of_the_combinations_where_values_are_too_many(limit: int) -> None:
    space, landscape = _tens(4)
    asked = _asked(space, landscape, max_trials=limit)
    first = asked[: limit // 3]
    assert np.mean([space.deviations(v) for v in first]) > 8, "many changes at once"
    assert len(asked) <= limit
    assert max(landscape.gain_ns(v) for v in asked) > 0.4 * sum(landscape.single.values())


def test_where_nothing_pays_it_says_so() -> None:
    gains = {(n, v): -3.0 for n, axis in SPACE_864.axes.items() for v in axis[1:]}
    policy = ScreeningPolicy(SPACE_864)
    run(policy, Landscape(gains).measure)
    assert policy.ranking()[0][1].high < 0
    assert policy.trials_used < 60
