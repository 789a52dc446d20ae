# SPDX-License-Identifier: GPL-2.0-only
"""Which windows of a trial were disturbed, by what two generic arms took in them."""

from __future__ import annotations

import numpy as np
import pytest

from iridescent_xdp.disturbed import PATIENCE, Disturbed
from iridescent_xdp.search.settings import SearchSettings
from iridescent_xdp.statistics import HISTOGRAM_BUCKETS, Windows, paired_difference
from iridescent_xdp.trial_end import FINAL_PRECISION, TrialEnd
from tests.unit.window_model import counts_of

USUAL, SLOW = 130.0, 220.0


def arm(means: list[float], samples: int, rng: np.random.Generator) -> Windows:
    """A window for each of ``means``, in ns."""
    times = np.array(means)[:, None] + rng.normal(0, 30, (len(means), samples))
    return counts_of(np.maximum(1, np.rint(times)).astype(np.int64))


def found(means: list[float], *, samples: int = 400, known: Disturbed | None = None) -> set[int]:
    rng = np.random.default_rng(len(means))
    twins = [arm(means, samples, rng) for _ in range(2)]
    return set((known or Disturbed()).windows(twins))


def after_a_calm_trial() -> Disturbed:
    known = Disturbed()
    assert not found([USUAL] * 9, known=known)
    known.trial_ends()
    return known


def test_windows_in_which_generic_was_slower_are_found() -> None:
    means = [USUAL] * 12
    means[3] = means[7] = SLOW
    means[9] = 1.08 * USUAL  # that much happens
    assert found(means) == {3, 7}


def test_a_trial_that_was_disturbed_all_the_time_is_found_by_the_one_before() -> None:
    assert not found([SLOW] * 9), "nothing is known yet"
    assert found([SLOW] * 9, known=after_a_calm_trial()) == set(range(9))


def test_a_machine_that_stays_slower_is_as_it_is_now() -> None:
    known, means = after_a_calm_trial(), [SLOW] * PATIENCE
    assert len(found(means[:-1], known=known)) == PATIENCE - 1
    assert not found(means, known=known)
    known.trial_ends()
    assert not found([SLOW] * 9, known=known), "in the next trial, too"


@pytest.mark.parametrize("seed", range(5))
def test_few_samples_are_not_mistaken_for_a_disturbance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    twins = [arm([USUAL] * 200, 4, rng) for _ in range(2)]
    assert len(Disturbed().windows(twins)) <= 2


def test_windows_without_packets_of_generic_stay() -> None:
    rng = np.random.default_rng(2)
    twins = [arm([USUAL] * 9, 300, rng) for _ in range(2)]
    for counts in twins:
        counts[4] = 0
    assert not Disturbed().windows(twins)


def test_gains_are_those_of_calm_windows() -> None:
    rng = np.random.default_rng(8)
    generic = [USUAL] * 12 + [SLOW] * 6 + [USUAL] * 12
    good, bad = [50.0] * 30, [56.0] * 30
    arms = [arm(means, 600, rng) for means in (generic, generic, good, bad)]
    end, look = TrialEnd(settings=SearchSettings(), precision=FINAL_PRECISION), None
    for count in range(1, 31):
        look = end.look([counts[:count] for counts in arms])
    assert look is not None and look.disturbed == set(range(12, 18)) and look.behind == {3}
    calm = [place for place in range(30) if place not in look.disturbed]
    fair = [counts[calm] for counts in arms]
    assert paired_difference(fair[0], fair[2]).value == pytest.approx(USUAL - 50, abs=2)


def test_an_arm_that_was_taken_out_keeps_two_windows() -> None:
    rng = np.random.default_rng(9)
    means = [SLOW] * 2 + [USUAL] * 10
    arms = [arm(means, 300, rng) for _ in range(3)]
    worse = arm([900.0] * 2 + [1.0] * 10, 300, rng)
    worse[2:] = np.zeros((10, HISTOGRAM_BUCKETS), dtype=np.int64)
    look = TrialEnd(settings=SearchSettings(), precision=FINAL_PRECISION).look([*arms, worse])
    assert look.stopped == {3} and not look.disturbed
