# SPDX-License-Identifier: GPL-2.0-only
"""A bandit on machines that change: it goes on, notices, forgets, and bounds its exploring."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.search import bandit
from iridescent_xdp.search.bandit import BanditPolicy
from iridescent_xdp.search.policy import Outcome, SearchSettings, Trial
from iridescent_xdp.variant import Variant
from tests.unit.landscape_model import SPACE_24, SPACE_864, Landscape, measured, refuse

Measure = Callable[[Sequence[Trial]], list[Outcome]]


def _batches(policy: BanditPolicy, measure: Measure, count: int) -> list[list[Variant]]:
    """What it asks in the next ``count`` batches."""
    asked = []
    for _ in range(count):
        batch = policy.ask()
        asked.append([trial.variant for trial in batch])
        policy.tell(measure(batch))
    return asked


def test_goes_on_for_ever_and_keeps_measuring_the_best() -> None:
    landscape = Landscape.random(SPACE_24, 4)
    policy = BanditPolicy(SPACE_24)
    asked = _batches(policy, landscape.measure, 300)
    assert all(asked)
    best = max(SPACE_24, key=landscape.gain_ns)
    assert sum(best in batch for batch in asked[20:]) > 0.9 * len(asked[20:])
    assert policy.ranking()[0][0] == best


@pytest.mark.parametrize("space", [SPACE_24, SPACE_864], ids=["24", "864"])
def test_finds_the_new_best_after_a_change(space: object) -> None:
    assert space is SPACE_24 or space is SPACE_864
    found = 0
    for seed in range(2):
        before, after = (Landscape.random(space, 2 * seed + i) for i in (0, 1))
        policy = BanditPolicy(space, SearchSettings(seed=seed))
        _batches(policy, before.measure, 20)
        _batches(policy, after.measure, 40)
        best = max(after.gain_ns(variant) for variant in space)
        found += after.gain_ns(policy.ranking()[0][0]) > best - 1
    assert found == 2


def test_old_results_are_forgotten() -> None:
    policy = BanditPolicy(SPACE_24)
    _batches(policy, lambda batch: [measured(t.variant, 9.0, 1.0) for t in batch], 5)
    variant = policy.tried[0]
    widths = []
    for _ in range(20):
        effect = policy.effect(variant)
        assert effect is not None
        widths.append(effect.half_width)
        batch = policy.ask()
        policy.tell(refuse(batch) if variant not in [t.variant for t in batch] else [
            measured(t.variant, 9.0, 1.0) for t in batch
        ])  # fmt: skip
    assert max(widths) > 1.1 * min(widths)


def test_a_gain_that_is_gone_is_believed_soon() -> None:
    gains = dict.fromkeys(SPACE_24, 1.0)
    best = SPACE_24.generic.with_values(p0=1, p1=1)
    gains[best] = 30.0

    def measure(batch: Sequence[Trial]) -> list[Outcome]:
        return [measured(t.variant, gains[t.variant], 0.5) for t in batch]

    policy = BanditPolicy(SPACE_24)
    _batches(policy, measure, 40)
    assert policy.ranking()[0][0] == best
    gains[best] = -5.0
    _batches(policy, measure, 12)
    effect = policy.effect(best)
    assert policy.ranking()[0][0] != best and effect is not None and effect.value < 1.0


@pytest.mark.parametrize(("share", "arms"), [(0.25, 8), (0.1, 7), (0.5, 4), (0.25, 1)])
def test_explores_a_bounded_share_but_never_stops_exploring(share: float, arms: int) -> None:
    """Where the best is beyond doubt everything else that is measured is exploring."""
    gains = {SPACE_24.generic.with_values(p0=1): 50.0}

    def measure(batch: Sequence[Trial]) -> list[Outcome]:
        return [measured(t.variant, gains.get(t.variant, 0.0), 0.01) for t in batch]

    policy = BanditPolicy(SPACE_24, SearchSettings(explore=share, max_arms=arms))
    _batches(policy, measure, 24)
    rounds = 240
    asked = _batches(policy, measure, rounds)
    explored = Counter(v for batch in asked for v in batch if v not in gains)
    assert explored.total() == pytest.approx(share * arms * rounds, rel=0.02)
    assert set(explored) == set(SPACE_24) - set(gains) - {SPACE_24.generic}
    assert max(explored.values()) - min(explored.values()) <= 2, "long unmeasured ones first"
    assert max(map(len, asked)) <= arms


def test_new_variants_of_a_large_space_are_explored_for_ever() -> None:
    policy = BanditPolicy(SPACE_864)
    landscape = Landscape.random(SPACE_864, 1)
    tried = []
    for _ in range(3):
        _batches(policy, landscape.measure, 20)
        tried.append(policy.variants_tried)
    steps = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert min(steps) >= 10, "of 35 explorers about half are new"


def test_what_it_keeps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandit, "HISTORY", 50)
    monkeypatch.setattr(bandit, "MOST_VARIANTS", 40)
    monkeypatch.setattr(bandit, "REMEMBERED", 10)
    policy = BanditPolicy(SPACE_864)
    _batches(policy, Landscape.random(SPACE_864, 1).measure, 40)
    assert len(policy.history) == 50
    assert policy.variants_tried == 40
    assert max(policy.looks(variant) for variant in policy.tried) == 10


def test_ends_when_nothing_is_left_or_the_caller_has_enough() -> None:
    policy = BanditPolicy(SPACE_24, SearchSettings(max_trials=50))
    measure = Landscape.random(SPACE_24, 1).measure
    while batch := policy.ask():
        policy.tell(measure(batch))
    assert policy.trials_used == 50
    policy = BanditPolicy(SPACE_24)
    while batch := policy.ask():
        policy.tell(refuse(batch))
    assert policy.variants_tried == 23


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"explore": 0.0}, r"0 < explore <= 1 must hold, got 0\.0"),
        ({"explore": 1.5}, "explore"),
        ({"discount": 1.0}, r"0 < discount < 1 must hold, got 1\.0"),
    ],
)
def test_settings_that_cannot_work(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSettings(**wrong)  # type: ignore[arg-type]
