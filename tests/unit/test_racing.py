# SPDX-License-Identifier: GPL-2.0-only
"""What racing spends, what it drops, and how it gets out of dead ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from iridescent_xdp.search.policy import Outcome, SearchSettings, Trial
from iridescent_xdp.search.racing import GENERATION, RacingPolicy
from iridescent_xdp.search.space import Space
from iridescent_xdp.variant import Variant
from tests.unit.landscape_model import (
    SPACE_24,
    SPACE_864,
    Landscape,
    measured,
    regret_ns,
    run,
    space_of,
)

GENERATION_BATCHES = -(-GENERATION // 7)
# What a batch and a new variant cost on the machine in the field notes, rounded up.
SAMPLES_PER_S = 900_000
COMPILE_S = 0.2


def _variant(space: Space, **values: int) -> Variant:
    return space.generic.with_values(**values)


@pytest.mark.parametrize(
    ("space", "trials", "seconds"), [(SPACE_24, 50, 10), (SPACE_864, 100, 30)], ids=["24", "864"]
)
def test_is_economical(space: Space, trials: int, seconds: float) -> None:
    for seed in range(50):
        policy = RacingPolicy(space, SearchSettings(seed=seed))
        batches = run(policy, Landscape.random(space, seed).measure)
        samples = sum((len(batch) + 2) * batch[0].budget for batch in batches)
        assert policy.trials_used <= trials
        assert samples / SAMPLES_PER_S + policy.variants_tried * COMPILE_S < seconds


def test_a_small_space_starts_with_everything() -> None:
    space = space_of(4, 4, 2)
    batches = run(RacingPolicy(space), Landscape.random(space, 0).measure)
    first = {t.variant for batch in batches[:5] for t in batch}
    assert first == set(space) - {space.generic}


def test_seeds_are_in_the_first_generation_if_the_space_allows() -> None:
    space = space_of(3, 2, 2, 2, 2, 3, 2, 3, restrict={"p0": (0, 1)})
    seeds = [
        _variant(space, p1=1, p2=1, p3=1, p4=1, p5=2, p6=1, p7=2),
        _variant(space, p1=1, p2=1, p3=1, p4=1, p5=1, p6=1, p7=1),
    ]
    outside = _variant(space, p0=2)
    policy = RacingPolicy(space, SearchSettings(seeds=[*seeds, outside]))
    batches = run(policy, Landscape.random(space, 0).measure)
    first = [t.variant for batch in batches[:GENERATION_BATCHES] for t in batch]
    assert first[:2] == seeds
    assert outside not in {t.variant for batch in batches for t in batch}


@pytest.mark.parametrize("space", [SPACE_24, SPACE_864], ids=["24", "864"])
def test_seeds_are_a_batch_of_their_own(space: Space) -> None:
    seeds = [_variant(space, p1=1, p2=1), _variant(space, p0=2, p3=1)]
    policy = RacingPolicy(space, SearchSettings(seeds=seeds, max_trials=28))
    batches = run(policy, Landscape.random(space, 0).measure)
    assert [t.variant for t in batches[0]] == seeds
    assert len(batches[1]) > 1
    assert set(seeds).isdisjoint(t.variant for t in batches[1]), "they are known already"


def test_what_fits_into_one_batch_is_one() -> None:
    space = space_of(2, 2, 2)
    seeds = [_variant(space, p1=1, p2=1)]
    batches = run(
        RacingPolicy(space, SearchSettings(seeds=seeds)), Landscape.random(space, 0).measure
    )
    assert len(batches[0]) == 7


def test_the_first_generation_covers_every_value() -> None:
    policy = RacingPolicy(SPACE_864)
    batches = run(policy, Landscape.random(SPACE_864, 0).measure)
    first = [t.variant for batch in batches[:GENERATION_BATCHES] for t in batch]
    for name, axis in SPACE_864.axes.items():
        assert {v[name] for v in first} | {SPACE_864.generic[name]} == set(axis)


def test_what_is_clearly_worse_is_measured_once() -> None:
    space = space_of(20)
    gains = {("p0", value): float(value) for value in range(1, 20)}
    policy = RacingPolicy(space)
    batches = run(policy, Landscape(gains, noise=0.1).measure)
    times = Counter(t.variant["p0"] for batch in batches for t in batch)
    assert times[19] > 1
    assert all(times[value] == 1 for value in range(1, 17))


def test_indistinct_arms_are_halved_and_budgets_doubled() -> None:
    def alike(batch: Sequence[Trial]) -> list[Outcome]:
        return [measured(t.variant, t.variant["p0"] / 100, 5) for t in batch]

    settings = SearchSettings(first_samples=1000, final_samples=8000, finalists=3)
    batches = run(RacingPolicy(space_of(32), settings), alike)
    budgets = Counter(t.budget for batch in batches for t in batch)
    assert budgets == {1000: 31, 2000: 16, 4000: 8, 8000: 3}


def test_one_budget_for_all_still_measures() -> None:
    settings = SearchSettings(first_samples=5000, final_samples=5000)
    policy = RacingPolicy(SPACE_864, settings)
    landscape = Landscape.random(SPACE_864, 0)
    run(policy, landscape.measure)
    assert regret_ns(policy, SPACE_864, landscape) <= 1


@pytest.mark.parametrize("limit", [1, 3, 10, 40])
def test_max_trials_is_kept_and_ends_with_a_final(limit: int) -> None:
    settings = SearchSettings(max_trials=limit)
    policy = RacingPolicy(SPACE_864, settings)
    batches = run(policy, Landscape.random(SPACE_864, 0).measure)
    assert policy.trials_used <= limit
    assert policy.ranking()
    assert limit == 1 or batches[-1][0].budget == settings.final_samples


def test_the_final_includes_the_variant_without_useless_deviations() -> None:
    # only p5 = 2 and p7 = 1 pay; six other points do not show in the times
    gains = {("p5", 2): 20.0, ("p7", 1): 10.0}
    wanted = _variant(SPACE_864, p5=2, p7=1)
    for seed in range(10):
        policy = RacingPolicy(SPACE_864, SearchSettings(seed=seed))
        batches = run(policy, Landscape(gains, seed=seed).measure)
        last = {t.variant for batch in batches for t in batch if t.budget == 80_000}
        assert wanted in last


def test_gets_out_of_a_dead_end() -> None:
    # p5 = 2 and p7 = 2 pay only together, each alone costs; all the rest pays by itself
    alone = {("p0", 1): 5.0, ("p0", 2): 5.0, ("p1", 1): 8.0, ("p2", 1): 8.0, ("p3", 1): 8.0}
    singles = {**alone, ("p5", 2): -6.0, ("p7", 2): -6.0}
    pair = {(("p5", 2), ("p7", 2)): 20.0}
    found = 0
    for seed in range(40):
        landscape = Landscape(singles, pair, seed=seed)
        policy = RacingPolicy(SPACE_864, SearchSettings(seed=seed))
        run(policy, landscape.measure)
        found += regret_ns(policy, SPACE_864, landscape) <= 1
    assert found >= 38


def test_nothing_better_than_generic_is_said_so() -> None:
    gains = {(n, v): -3.0 for n, axis in SPACE_864.axes.items() for v in axis[1:]}
    policy = RacingPolicy(SPACE_864)
    run(policy, Landscape(gains).measure)
    assert policy.ranking()[0][1].high < 0
    tried = {variant for variant, _ in policy.ranking()}
    assert set(SPACE_864.neighbours(SPACE_864.generic)) <= tried


def test_a_huge_space_is_searched() -> None:
    space = space_of(*[7] * 24)
    rng = np.random.default_rng(0)
    gains = {(f"p{i}", v): float(rng.uniform(-5, 5)) for i in range(24) for v in range(1, 7)}
    policy = RacingPolicy(space)
    run(policy, Landscape(gains).measure)
    best = sum(max(0.0, *(gains[f"p{i}", v] for v in range(1, 7))) for i in range(24))
    assert policy.ranking()[0][1].value > 0.9 * best
    assert policy.trials_used <= 400
