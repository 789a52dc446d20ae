# SPDX-License-Identifier: GPL-2.0-only
"""What policies that end find, how they rank it, and whom they invite to the final."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.search import POLICIES
from iridescent_xdp.search.policy import Outcome, SearchSettings, Trial
from iridescent_xdp.search.space import Space
from tests.unit.landscape_model import (
    SPACE_24,
    SPACE_864,
    Landscape,
    measured,
    refuse,
    regret_ns,
    run,
)
from tests.unit.policies import ENDING, EVERY, OWN, make
from tests.unit.test_policy_contract import Unsteady

WITHIN_NOISE_NS = 1.0  # one per cent of a path of 100 ns: what a swap has to gain at least
every_policy = pytest.mark.parametrize("name", EVERY)
ending_policy = pytest.mark.parametrize("name", ENDING)


@every_policy
def test_the_winner_is_found_although_every_other_batch_fails(name: str) -> None:
    policy, machine = make(name, SPACE_24, max_trials=100), Unsteady(SPACE_24)
    run(policy, machine)
    usable = [v for v in SPACE_24 if not machine.refuses(v)]
    best = max(machine.landscape.gain_ns(v) for v in usable)
    assert machine.landscape.gain_ns(policy.ranking()[0][0]) > best - WITHIN_NOISE_NS


@ending_policy
def test_ranking_is_what_was_told(name: str) -> None:
    landscape = Landscape.random(SPACE_864, 8)
    exact = {v: landscape.gain_ns(v) for v in SPACE_864}
    policy = make(name, SPACE_864, max_trials=None)
    batches = run(policy, lambda batch: [measured(t.variant, exact[t.variant]) for t in batch])
    ranking = policy.ranking()
    assert {variant for variant, _ in ranking} == {t.variant for b in batches for t in b}
    assert all(effect.value == pytest.approx(exact[variant]) for variant, effect in ranking)
    values = [effect.value for _, effect in ranking]
    assert values[0] > max(exact.values()) - WITHIN_NOISE_NS
    final = {t.variant for b in batches for t in b if t.budget == policy.settings.final_samples}
    assert 2 <= len(final) <= 15
    assert {variant for variant, _ in ranking[: len(final)]} == final
    for part in (values[: len(final)], values[len(final) :]):
        assert part == sorted(part, reverse=True)


@ending_policy
def test_the_final_counts_more_than_a_lucky_start(name: str) -> None:
    def disappointing(batch: Sequence[Trial]) -> list[Outcome]:
        final = batch[0].budget == SearchSettings().final_samples
        return [measured(t.variant, 5.0 if final else 10.0, 0.1 if final else 1.0) for t in batch]

    policy = make(name, SPACE_864)
    batches = run(policy, disappointing)
    final = {t.variant for b in batches for t in b if t.budget == policy.settings.final_samples}
    assert {variant for variant, _ in policy.ranking()[: len(final)]} == final


@ending_policy
def test_a_variant_that_is_refused_late_is_not_ranked(name: str) -> None:
    landscape = Landscape.random(SPACE_24, 4)
    best = max(SPACE_24, key=landscape.gain_ns)

    def refuse_in_the_final(batch: Sequence[Trial]) -> list[Outcome]:
        told = landscape.measure(batch)
        if batch[0].budget == SearchSettings().final_samples:
            told = [o for o in told if o.variant != best]
            told += refuse([t for t in batch if t.variant == best])
        return told

    policy = make(name, SPACE_24)
    run(policy, refuse_in_the_final)
    assert len([o for o in policy.history if o.variant == best]) >= 2
    assert policy.ranking() and best not in dict(policy.ranking())


@ending_policy
def test_the_final_invites_the_simplest_of_those_alike(name: str) -> None:
    def alike(batch: Sequence[Trial]) -> list[Outcome]:
        return [measured(t.variant, SPACE_24.deviations(t.variant) / 100, 1) for t in batch]

    batches = run(make(name, SPACE_24, final_samples=40_000), alike)
    final = [t.variant for b in batches for t in b if t.budget == 40_000]
    assert {SPACE_24.deviations(variant) for variant in final} >= {1, 4}


@pytest.mark.parametrize("name", ["exhaustive", "racing", "screening"])
@pytest.mark.parametrize("arms", [3, 7])
def test_the_best_of_24_is_found(name: str, arms: int) -> None:
    assert _found(name, SPACE_24, arms, seeds=50) >= 48


@pytest.mark.parametrize("name", ["optuna", "bandit", OWN])
def test_the_best_of_24_is_found_by_the_slow_ones(name: str) -> None:
    assert _found(name, SPACE_24, 7, seeds=10) >= 9


def test_racing_finds_the_best_of_864() -> None:
    assert _found("racing", SPACE_864, 7, seeds=25) >= 24


def _found(name: str, space: Space, arms: int, seeds: int) -> int:
    found = 0
    for seed in range(seeds):
        landscape = Landscape.random(space, seed)
        policy = make(name, space, seed=seed, max_arms=arms)
        run(policy, landscape.measure)
        found += regret_ns(policy, space, landscape) <= WITHIN_NOISE_NS
    return found


def test_policies_are_registered_by_their_name() -> None:
    assert {name: policy.name for name, policy in POLICIES.items()} == {n: n for n in POLICIES}


def test_exhaustive_does_not_measure_a_part() -> None:
    with pytest.raises(ConfigError, match=r"needs 864 trials.*max_trials=100.*'racing'"):
        POLICIES["exhaustive"](SPACE_864, SearchSettings(max_trials=100))
