# SPDX-License-Identifier: GPL-2.0-only
"""The model of gains: what it learns from few variants, and what it suggests."""

from __future__ import annotations

import numpy as np
import pytest

from iridescent_xdp.search.coding import Coding
from iridescent_xdp.search.space import Space
from iridescent_xdp.search.surrogate import Surrogate, lasting_gains, most_lasting, suggest
from iridescent_xdp.statistics import Effect
from iridescent_xdp.variant import Variant
from tests.unit.landscape_model import SPACE_24, SPACE_864, Landscape, space_of

OUTSIDE = space_of(3, 3, 3, 3, 2, restrict={"p1": (1, 2), "p4": (1,)})  # generic is not in the grid
HUGE = space_of(*[4] * 24)


def _known(
    landscape: Landscape, variants: list[Variant], half: float = 0.0
) -> dict[Variant, Effect]:
    gains = {variant: landscape.gain_ns(variant) for variant in variants}
    return {
        v: Effect(value=g, low=g - half, high=g + half, n=10, unit="ns") for v, g in gains.items()
    }


@pytest.mark.parametrize("space", [SPACE_24, SPACE_864, OUTSIDE, HUGE])
def test_coding_is_one_to_one(space: Space) -> None:
    coding = Coding(space)
    variants = space.sample(50, np.random.default_rng(0))
    rows = coding.encode(variants)
    assert [coding.decode(row) for row in rows] == variants
    assert not coding.encode([space.generic]).any()
    for variant, row in zip(variants, coding.indicator(rows), strict=True):
        assert row.sum() == space.deviations(variant)


@pytest.mark.parametrize("space", [SPACE_24, SPACE_864, OUTSIDE])
def test_pool_and_neighbours_are_those_of_the_space(space: Space) -> None:
    coding = Coding(space)
    pool = {coding.decode(row) for row in coding.pool(np.random.default_rng(0))}
    assert pool | {space.generic} == set(space)
    one = space.sample(3, np.random.default_rng(1))[2]
    around = [coding.decode(row) for row in coding.neighbours(coding.encode([one])[0])]
    assert len(around) == len(set(around))
    assert set(around) == set(space.neighbours(one)) - {space.generic} | (
        {space.generic} & set(around)
    )


def test_learns_singles_and_a_pair_from_a_sample() -> None:
    landscape = Landscape(
        {("p0", 2): 4.0, ("p2", 1): 7.0, ("p5", 1): 6.0, ("p6", 1): -5.0, ("p7", 1): 3.0},
        {(("p2", 1), ("p5", 1)): -20.0},
    )
    known = _known(landscape, SPACE_864.sample(60, np.random.default_rng(3)))
    others = [v for v in SPACE_864 if v not in known and v != SPACE_864.generic]
    coding = Coding(SPACE_864)
    mean, deviation = Surrogate(coding, known).predict(coding.encode(others))
    truth = np.array([landscape.gain_ns(v) for v in others])
    assert np.abs(mean - truth).mean() < 1.5
    assert np.mean(np.abs(mean - truth) < 3 * deviation + 0.1) > 0.95
    guesses = suggest(SPACE_864, known, 6)
    assert landscape.gain_ns(guesses[0]) == pytest.approx(truth.max())
    assert len(guesses) == len(set(guesses)) == 6
    assert not set(guesses) & set(known)


def test_knows_what_was_measured_as_well_as_it_was_measured() -> None:
    landscape = Landscape.random(SPACE_864, 1)
    known = _known(landscape, SPACE_864.sample(30, np.random.default_rng(3)), half=0.2)
    coding = Coding(SPACE_864)
    mean, deviation = Surrogate(coding, known).predict(coding.encode(list(known)))
    assert np.allclose(mean, [effect.value for effect in known.values()], atol=0.3)
    assert deviation.max() <= 0.2 / 2.5
    nothing, certain = Surrogate(coding, known).predict(coding.encode([SPACE_864.generic]))
    assert nothing[0] == certain[0] == 0.0


def test_finds_the_best_of_a_space_that_cannot_be_enumerated() -> None:
    rng = np.random.default_rng(0)
    single = {(f"p{i}", v): float(rng.normal(0, 3)) for i in range(24) for v in range(1, 4)}
    landscape = Landscape(single)
    known = _known(landscape, HUGE.sample(160, rng))
    best = sum(max(0.0, *(single[f"p{i}", v] for v in range(1, 4))) for i in range(24))
    assert landscape.gain_ns(suggest(HUGE, known, 1)[0]) > 0.95 * best


def test_barred_and_hopeless_ones_are_not_suggested() -> None:
    landscape = Landscape.random(SPACE_864, 1)
    known = _known(landscape, SPACE_864.sample(60, np.random.default_rng(3)))
    first = suggest(SPACE_864, known, 1)
    assert suggest(SPACE_864, known, 1, barred=first) != first
    assert suggest(SPACE_864, known, 5, least_ns=1e6) == []
    assert suggest(SPACE_864, known, 4) == suggest(SPACE_864, known, 4)


def test_nothing_is_suggested_without_data_or_choice() -> None:
    assert suggest(SPACE_24, {}, 5) == []
    landscape = Landscape.random(SPACE_24, 1)
    assert suggest(SPACE_24, _known(landscape, list(SPACE_24)), 5) == []


def test_a_lucky_address_is_not_expected_to_last() -> None:
    landscape = Landscape({("p0", 2): 8.0, ("p2", 1): 7.0, ("p5", 1): 6.0, ("p6", 1): -5.0})
    sampled = SPACE_864.sample(40, np.random.default_rng(3))
    best = SPACE_864.generic.with_values(p0=2, p2=1, p5=1)
    lucky = best.with_values(p5=0)
    known = _known(landscape, [v for v in sampled if v not in (best, lucky)], half=0.5)
    known[lucky] = Effect(value=23.0, low=22.5, high=23.5, n=10, unit="ns")  # 15, and 8 by luck
    assert max(known, key=lambda v: known[v].value) == lucky
    assert lasting_gains(SPACE_864, known, [lucky])[lucky] < 22
    found = most_lasting(SPACE_864, known, 5)
    assert len(set(found)) == 5 and lucky not in found
    assert landscape.gain_ns(found[0]) >= landscape.gain_ns(best) - 0.5
