# SPDX-License-Identifier: GPL-2.0-only
"""Gains of a disturbed machine, as on a calm one."""

from __future__ import annotations

import pytest

from iridescent_xdp.search.exhaustive import ExhaustivePolicy
from iridescent_xdp.search.rescale import rescaled
from iridescent_xdp.search.resume import outcomes_from, told_event
from iridescent_xdp.search.settings import SearchSettings
from iridescent_xdp.search.trial import Outcome, Status
from iridescent_xdp.statistics import Effect
from tests.unit.landscape_model import SPACE_24


def gain(value: float, half: float = 1.0) -> Effect:
    return Effect(value=value, low=value - half, high=value + half, n=9, unit="ns")


def test_a_fast_variant_is_slowed_down_less_than_generic() -> None:
    """64 of 128 ns; a neighbour makes them 90.5 of 256."""
    found = rescaled(gain(256 - 90.51), 256, 128)
    assert found.value == pytest.approx(64, abs=0.01)
    assert found.half_width > gain(0).half_width, "the exponent is a guess"


def test_what_is_as_slow_as_generic_is_slowed_down_as_it_is() -> None:
    assert rescaled(gain(0.0), 200, 128).value == pytest.approx(0)
    assert rescaled(gain(-20.0), 200, 128).value == pytest.approx(-12.8)


@pytest.mark.parametrize(("generic_ns", "calm_ns"), [(0, 128), (128, 0), (128, 128)])
def test_nothing_changes_where_there_is_nothing_to_compare(
    generic_ns: float, calm_ns: float
) -> None:
    assert rescaled(gain(50), generic_ns, calm_ns) == gain(50)


def test_a_policy_ranks_by_calm_gains_whichever_trial_came_first() -> None:
    """The worse one was measured while generic took twice as long: its gain was twice as large."""
    ranked = []
    for disturbed_first in (True, False):
        policy = ExhaustivePolicy(SPACE_24, SearchSettings(max_arms=2))
        arms = [trial.variant for trial in policy.ask()]
        worse, better = arms
        told = [
            Outcome(variant=worse, status=Status.MEASURED, effect=gain(160), generic_ns=256),
            Outcome(variant=better, status=Status.MEASURED, effect=gain(70), generic_ns=128),
        ]
        policy.tell(told if disturbed_first else told[::-1])
        ranked.append(policy.ranking()[0][0] == better)
    assert ranked == [True, True]


def test_a_killed_search_knows_what_generic_took() -> None:
    variant = next(v for v in SPACE_24 if v != SPACE_24.generic)
    told = Outcome(variant=variant, status=Status.MEASURED, effect=gain(5), generic_ns=127.123456)
    event = {"event": "told", **told_event([told])}
    assert outcomes_from([event], SPACE_24) == [[told]]
