# SPDX-License-Identifier: GPL-2.0-only
"""What every search policy has to keep to, whatever it is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.search import POLICIES
from iridescent_xdp.search.policy import (
    Outcome,
    SearchSettings,
    Trial,
)
from iridescent_xdp.search.space import Space
from iridescent_xdp.variant import Variant
from tests.unit.landscape_model import (
    SPACE_24,
    SPACE_864,
    Landscape,
    fail,
    measured,
    refuse,
    regret_ns,
    run,
    space_of,
)

Measure = Callable[[Sequence[Trial]], list[Outcome]]
WITHIN_NOISE_NS = 1.0  # one per cent of a path of 100 ns: what a swap has to gain at least

SPACES = {
    "generic alone": space_of(1, 1),
    "two": space_of(2),
    "24": SPACE_24,
    "864": SPACE_864,
    "restricted, generic outside": space_of(3, 3, 3, 3, 2, restrict={"p1": (1, 2), "p4": (1,)}),
    "one long point": space_of(100),
}
every_policy = pytest.mark.parametrize("name", POLICIES)
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


class _Unsteady:
    """Refuses some variants for ever; of all others every other batch fails."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.landscape = Landscape.random(space, 3)
        self.turns = itertools.cycle([True, False])

    def refuses(self, variant: Variant) -> bool:
        return int(variant.key, 16) % 3 == 0

    def __call__(self, batch: Sequence[Trial]) -> list[Outcome]:
        refused = [t for t in batch if self.refuses(t.variant)]
        others = [t for t in batch if not self.refuses(t.variant)]
        if not others or next(self.turns):
            return refuse(refused) + fail(others)
        return refuse(refused) + self.landscape.measure(others)


def _behaviours(space: Space) -> dict[str, Measure]:
    landscape = Landscape.random(space, 1)
    return {
        "measures": landscape.measure,
        "all refused": refuse,
        "all failed": fail,
        "unsteady": _Unsteady(space),
        "all equal": lambda batch: [measured(t.variant, 0, 1) for t in batch],
        "all worse": lambda batch: [measured(t.variant, -9, 1) for t in batch],
        "no spread": lambda batch: [
            measured(t.variant, landscape.gain_ns(t.variant)) for t in batch
        ],
    }


@every_policy
@every_space
@pytest.mark.parametrize("behaviour", _behaviours(SPACE_24))
@pytest.mark.parametrize("max_arms", [1, 7])
def test_proposals_are_legal_and_end(
    name: str, space: Space, behaviour: str, max_arms: int
) -> None:
    policy = POLICIES[name](space, SearchSettings(max_arms=max_arms))
    batches = run(policy, _behaviours(space)[behaviour], limit=2 * space.size + 100)
    for batch in batches:
        variants = [trial.variant for trial in batch]
        assert 1 <= len(variants) == len(set(variants)) <= max_arms
        assert len({trial.budget for trial in batch}) == 1 and batch[0].budget > 0
        assert all(variant in space for variant in variants)
        assert all(variant["policy"] == 1 for variant in variants)
        assert space.generic not in variants
    assert policy.trials_used == sum(map(len, batches))
    assert policy.variants_tried == len({t.variant for batch in batches for t in batch})
    assert policy.ask() == []


@every_policy
@every_space
def test_same_seed_and_results_give_the_same_proposals(name: str, space: Space) -> None:
    first, second = (
        run(POLICIES[name](space, SearchSettings(seed=5)), _behaviours(space)["measures"])
        for _ in range(2)
    )
    assert first == second
    assert len(first) >= 1 or space.size == 1


@every_policy
def testrefused_variants_are_never_proposed_again(name: str) -> None:
    policy, machine = POLICIES[name](SPACE_864), _Unsteady(SPACE_864)
    proposed = [t.variant for batch in run(policy, machine) for t in batch]
    refused = {variant for variant in proposed if machine.refuses(variant)}
    assert refused
    assert all(proposed.count(variant) == 1 for variant in refused)
    assert not refused & {variant for variant, _ in policy.ranking()}


@every_policy
def test_a_failed_measurement_is_repeated_once(name: str) -> None:
    policy = POLICIES[name](SPACE_24)
    proposed = [t.variant for batch in run(policy, fail) for t in batch]
    assert set(proposed) == set(SPACE_24) - {SPACE_24.generic}
    assert {proposed.count(variant) for variant in proposed} == {2}
    assert policy.ranking() == []


@every_policy
def test_the_winner_is_found_although_every_other_batch_fails(name: str) -> None:
    policy, machine = POLICIES[name](SPACE_24), _Unsteady(SPACE_24)
    run(policy, machine)
    usable = [v for v in SPACE_24 if not machine.refuses(v)]
    best = max(machine.landscape.gain_ns(v) for v in usable)
    assert machine.landscape.gain_ns(policy.ranking()[0][0]) > best - WITHIN_NOISE_NS


@every_policy
def test_ranking_is_what_was_told(name: str) -> None:
    landscape = Landscape.random(SPACE_864, 8)
    exact = {v: landscape.gain_ns(v) for v in SPACE_864}
    policy = POLICIES[name](SPACE_864)
    batches = run(policy, lambda batch: [measured(t.variant, exact[t.variant]) for t in batch])
    ranking = policy.ranking()
    assert {variant for variant, _ in ranking} == {t.variant for b in batches for t in b}
    assert all(effect.value == pytest.approx(exact[variant]) for variant, effect in ranking)
    values = [effect.value for _, effect in ranking]
    assert values[0] == pytest.approx(max(exact.values()))
    final = {t.variant for b in batches for t in b if t.budget == policy.settings.final_samples}
    assert 2 <= len(final) <= 15
    assert {variant for variant, _ in ranking[: len(final)]} == final
    for part in (values[: len(final)], values[len(final) :]):
        assert part == sorted(part, reverse=True)


@every_policy
def test_the_final_counts_more_than_a_lucky_start(name: str) -> None:
    def disappointing(batch: Sequence[Trial]) -> list[Outcome]:
        final = batch[0].budget == SearchSettings().final_samples
        return [measured(t.variant, 5.0 if final else 10.0, 0.1 if final else 1.0) for t in batch]

    policy = POLICIES[name](SPACE_864)
    batches = run(policy, disappointing)
    final = {t.variant for b in batches for t in b if t.budget == policy.settings.final_samples}
    assert {variant for variant, _ in policy.ranking()[: len(final)]} == final


@every_policy
def test_a_variant_that_isrefused_late_is_not_ranked(name: str) -> None:
    landscape = Landscape.random(SPACE_24, 4)
    best = max(SPACE_24, key=landscape.gain_ns)

    def refuse_in_the_final(batch: Sequence[Trial]) -> list[Outcome]:
        told = landscape.measure(batch)
        if batch[0].budget == SearchSettings().final_samples:
            told = [o for o in told if o.variant != best]
            told += refuse([t for t in batch if t.variant == best])
        return told

    policy = POLICIES[name](SPACE_24)
    run(policy, refuse_in_the_final)
    assert len([o for o in policy.history if o.variant == best]) >= 2
    assert policy.ranking() and best not in dict(policy.ranking())


@every_policy
def test_failures_of_different_rounds_do_not_add_up(name: str) -> None:
    attempts: dict[Variant, int] = {}
    landscape = Landscape.random(SPACE_24, 4)

    def fail_first(batch: Sequence[Trial]) -> list[Outcome]:
        told = []
        for trial, outcome in zip(batch, landscape.measure(batch), strict=True):
            attempts[trial.variant] = attempts.get(trial.variant, 0) + 1
            told += [outcome] if attempts[trial.variant] % 2 == 0 else fail([trial])
        return told

    policy = POLICIES[name](SPACE_24)
    run(policy, fail_first)
    assert max(attempts.values()) >= 4
    assert {variant for variant, _ in policy.ranking()} == set(attempts)


@every_policy
def test_the_final_invites_the_simplest_of_those_alike(name: str) -> None:
    def alike(batch: Sequence[Trial]) -> list[Outcome]:
        return [measured(t.variant, SPACE_24.deviations(t.variant) / 100, 1) for t in batch]

    settings = SearchSettings(final_samples=40_000)
    batches = run(POLICIES[name](SPACE_24, settings), alike)
    final = [t.variant for b in batches for t in b if t.budget == 40_000]
    assert {SPACE_24.deviations(variant) for variant in final} >= {1, 4}


@every_policy
def test_told_outcomes_are_kept_in_order(name: str) -> None:
    policy, told = POLICIES[name](SPACE_24), []
    while batch := policy.ask():
        outcomes = refuse(batch)
        told += outcomes
        policy.tell(outcomes)
    assert policy.history == told


@every_policy
@pytest.mark.parametrize("arms", [3, 7])
def test_the_best_of_24_is_found(name: str, arms: int) -> None:
    assert _found(name, SPACE_24, arms) >= 95


def test_racing_finds_the_best_of_864() -> None:
    assert _found("racing", SPACE_864, 7) >= 95


def _found(name: str, space: Space, arms: int) -> int:
    found = 0
    for seed in range(100):
        landscape = Landscape.random(space, seed)
        policy = POLICIES[name](space, SearchSettings(seed=seed, max_arms=arms))
        run(policy, landscape.measure)
        found += regret_ns(policy, space, landscape) <= WITHIN_NOISE_NS
    return found


def test_policies_are_registered_by_their_name() -> None:
    assert {name: policy.name for name, policy in POLICIES.items()} == {n: n for n in POLICIES}


def test_exhaustive_does_not_measure_a_part() -> None:
    with pytest.raises(ConfigError, match=r"needs 864 trials.*max_trials=100.*'racing'"):
        POLICIES["exhaustive"](SPACE_864, SearchSettings(max_trials=100))
