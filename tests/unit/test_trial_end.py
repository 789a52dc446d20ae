# SPDX-License-Identifier: GPL-2.0-only
"""When a trial ends: arms are histograms drawn with known means."""

from __future__ import annotations

import numpy as np
import pytest

from iridescent_xdp.search.settings import SearchSettings
from iridescent_xdp.statistics import HISTOGRAM_BUCKETS, RELIABLE_N, Windows, bucket_of
from iridescent_xdp.trial_end import BATCH_PRECISION, CONTROLS, Look, TrialEnd


def arm(mean_ns: float, windows: int, samples: int, rng: np.random.Generator) -> Windows:
    """Windows of times around ``mean_ns``."""
    counts = np.zeros((windows, HISTOGRAM_BUCKETS), dtype=np.int64)
    for row in counts:
        for ns in rng.normal(mean_ns, 12, samples).clip(1):
            row[bucket_of(int(ns))] += 1
    return counts


def watched(
    means_ns: list[float], *, windows: int = 30, samples: int = 300, precision: float | None
) -> tuple[int, Look]:
    """After how many windows it ended (``windows`` if it did not), and the last look."""
    rng = np.random.default_rng(3)
    arms = [arm(mean, windows, samples, rng) for mean in means_ns]
    end = TrialEnd(settings=SearchSettings(), precision=precision)
    look = Look()
    for count in range(1, windows + 1):
        look = end.look([counts[:count] for counts in arms])
        if look.done:
            return count, look
    return windows, look


def test_a_clear_winner_ends_it_as_soon_as_intervals_are_reliable() -> None:
    count, look = watched([130, 130, 50, 128], precision=BATCH_PRECISION)
    assert look.done and count <= RELIABLE_N + 3
    assert look.behind == {CONTROLS + 1} and not look.stopped


def test_ties_end_it_when_they_are_known_to_be_ties() -> None:
    count, look = watched([130, 130, 50, 50, 50.2], precision=BATCH_PRECISION)
    assert look.done and count < 30 and not look.out


def test_few_samples_are_not_enough() -> None:
    count, look = watched([130, 130, 125, 127], samples=4, precision=BATCH_PRECISION)
    assert count == 30 and not look.done


def test_an_arm_that_is_far_worse_is_stopped_at_once() -> None:
    rng = np.random.default_rng(4)
    arms = [arm(mean, 2, 300, rng) for mean in (100, 100, 98, 400)]
    look = TrialEnd(settings=SearchSettings(), precision=BATCH_PRECISION).look(arms)
    assert look.stopped == {3} and not look.done


def test_with_nothing_but_arms_that_are_far_worse_it_is_over() -> None:
    rng = np.random.default_rng(5)
    arms = [arm(mean, 2, 300, rng) for mean in (100, 100, 390, 400)]
    look = TrialEnd(settings=SearchSettings(), precision=BATCH_PRECISION).look(arms)
    assert look.stopped == {2, 3} and look.done


@pytest.mark.parametrize("means", [[130, 130, 50], [130, 130, 130]])
def test_without_precision_only_samples_end_it(means: list[float]) -> None:
    count, look = watched(means, precision=None)
    assert count == 30 and look == Look()
