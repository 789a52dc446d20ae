# SPDX-License-Identifier: GPL-2.0-only
"""What every search policy has to keep to, whatever it is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest

from iridescent_xdp.search.policy import Outcome, Status, Trial
from iridescent_xdp.search.space import Space
from iridescent_xdp.variant import Variant
from tests.unit.landscape_model import (
    SPACE_24,
    SPACE_864,
    Landscape,
    fail,
    measured,
    refuse,
    run,
    space_of,
)
from tests.unit.policies import EVERY, make

Measure = Callable[[Sequence[Trial]], list[Outcome]]

SPACES = {
    "generic alone": space_of(1, 1),
    "two": space_of(2),
    "24": SPACE_24,
    "864": SPACE_864,
    "restricted, generic outside": space_of(3, 3, 3, 3, 2, restrict={"p1": (1, 2), "p4": (1,)}),
    "one long point": space_of(100),
}
every_policy = pytest.mark.parametrize("name", EVERY)
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


class Unsteady:
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


def behaviours(space: Space) -> dict[str, Measure]:
    landscape = Landscape.random(space, 1)
    return {
        "measures": landscape.measure,
        "all refused": refuse,
        "all failed": fail,
        "unsteady": Unsteady(space),
        "all equal": lambda batch: [measured(t.variant, 0, 1) for t in batch],
        "all worse": lambda batch: [measured(t.variant, -9, 1) for t in batch],
        "no spread": lambda batch: [
            measured(t.variant, landscape.gain_ns(t.variant)) for t in batch
        ],
        "all stopped": lambda batch: [stopped(t.variant) for t in batch],
    }


def stopped(variant: Variant) -> Outcome:
    """An arm that was far worse; its interval is wide, for it was short."""
    effect = measured(variant, -200.0, 50.0, 2).effect
    return Outcome(variant=variant, status=Status.MEASURED, effect=effect, stopped=True)


@every_policy
@every_space
@pytest.mark.parametrize("behaviour", behaviours(SPACE_24))
def test_proposals_are_legal_and_end(name: str, space: Space, behaviour: str) -> None:
    _legal(name, space, behaviour, max_arms=7)


@every_policy
@pytest.mark.parametrize("behaviour", behaviours(SPACE_24))
def test_one_arm_at_a_time_is_legal_too(name: str, behaviour: str) -> None:
    _legal(name, SPACE_24, behaviour, max_arms=1)


def _legal(name: str, space: Space, behaviour: str, max_arms: int) -> None:
    policy = make(name, space, max_arms=max_arms)
    batches = run(policy, behaviours(space)[behaviour], limit=2 * space.size + 100)
    for batch in batches:
        variants = [trial.variant for trial in batch]
        assert 1 <= len(variants) == len(set(variants)) <= max_arms
        assert len({trial.budget for trial in batch}) == 1 and batch[0].budget > 0
        assert all(variant in space for variant in variants)
        assert all(variant["policy"] == 1 for variant in variants)
        assert space.generic not in variants
    assert bool(batches) == (space.size > 1)
    assert policy.trials_used == sum(map(len, batches))
    assert policy.variants_tried == len({t.variant for batch in batches for t in batch})
    assert policy.ask() == []


@every_policy
@every_space
def test_same_seed_and_results_give_the_same_proposals(name: str, space: Space) -> None:
    first, second = (run(make(name, space, seed=5), behaviours(space)["measures"]) for _ in "12")
    assert first == second


@pytest.mark.parametrize("name", [name for name in EVERY if name != "exhaustive"])
def test_another_seed_gives_other_proposals(name: str) -> None:
    results = [
        run(make(name, SPACE_864, seed=seed, max_trials=20), Landscape.random(SPACE_864, 1).measure)
        for seed in (1, 2)
    ]
    assert results[0] != results[1]


@every_policy
@pytest.mark.parametrize("limit", [1, 3, 10, 24])
def test_max_trials_is_kept(name: str, limit: int) -> None:
    space = SPACE_864 if name != "exhaustive" else space_of(limit)
    policy = make(name, space, max_trials=limit)
    batches = run(policy, Landscape.random(space, 0).measure)
    assert policy.trials_used <= limit
    assert bool(policy.ranking()) == (space.size > 1) == bool(batches)
    assert limit < 3 or policy.trials_used >= limit / 3 or space.size <= limit


@every_policy
def test_refused_variants_are_never_proposed_again(name: str) -> None:
    policy, machine = make(name, SPACE_864), Unsteady(SPACE_864)
    proposed = [t.variant for batch in run(policy, machine) for t in batch]
    refused = {variant for variant in proposed if machine.refuses(variant)}
    assert refused
    assert all(proposed.count(variant) == 1 for variant in refused)
    assert not refused & {variant for variant, _ in policy.ranking()}


@every_policy
@pytest.mark.parametrize("space", [SPACE_24, SPACE_864], ids=["24", "864"])
def test_a_stopped_arm_is_known_but_not_proposed_again(name: str, space: Space) -> None:
    landscape = Landscape.random(space, 2)
    bad = {v for v in space if v["p0"] == 2 or v["p1"] == 1}

    def measure(batch: Sequence[Trial]) -> list[Outcome]:
        return [stopped(o.variant) if o.variant in bad else o for o in landscape.measure(batch)]

    policy = make(name, space)
    proposed = [t.variant for batch in run(policy, measure) for t in batch]
    met = bad & set(proposed)
    assert met
    assert all(proposed.count(variant) == 1 for variant in met)
    ranked = [variant for variant, _ in policy.ranking()]
    assert met <= set(ranked)
    assert not met & set(ranked[: len(ranked) - len(met)]), "a stopped arm before a measured one"


@every_policy
def test_a_failed_measurement_is_repeated_once(name: str) -> None:
    policy = make(name, SPACE_24, max_trials=120)
    proposed = [t.variant for batch in run(policy, fail) for t in batch]
    assert {proposed.count(variant) for variant in proposed} == {2}
    assert policy.ranking() == []
    assert set(proposed) == set(SPACE_24) - {SPACE_24.generic}


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

    policy = make(name, SPACE_24, max_trials=120)
    run(policy, fail_first)
    assert max(attempts.values()) >= 4
    again = {variant for variant, count in attempts.items() if count > 1}
    assert {variant for variant, _ in policy.ranking()} == again


@every_policy
def test_told_outcomes_are_kept_in_order(name: str) -> None:
    policy, told = make(name, SPACE_24), []
    while batch := policy.ask():
        outcomes = refuse(batch)
        told += outcomes
        policy.tell(outcomes)
    assert policy.history == told
