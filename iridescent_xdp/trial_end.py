# SPDX-License-Identifier: GPL-2.0-only
"""When one arm of a trial, and the whole trial, has been measured enough.

Looked at after every window. An arm that is far worse than the generic code is stopped at once; one
that surely is not the best gives its packets to the others; and when all that are left are known
to ``precision`` the trial is over. The intervals hold at every look (search/sequential.py), so
looking often does not make chance a winner.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from iridescent_xdp.disturbed import Disturbed
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.search.early import far_worse
from iridescent_xdp.search.sequential import anytime
from iridescent_xdp.search.settings import SearchSettings
from iridescent_xdp.statistics import (
    MINIMAL_GAIN,
    RELIABLE_N,
    Effect,
    Windows,
    paired_difference,
    trimmed_mean,
)

CONTROLS = 2  # generic and its twin, which are never stopped
BATCH_PRECISION = MINIMAL_GAIN / 2  # of the generic time: half of an interval
FINAL_PRECISION = MINIMAL_GAIN / 3
LEAST_WINDOWS = 2  # for a difference
SPARSE = 1.3  # a look at the intervals comes when there are so many times as many windows


@dataclass(frozen=True, kw_only=True)
class Look:
    """What to do now: arms (by place) that get no packets any more, and whether to end."""

    stopped: frozenset[int] = frozenset()  # far worse than generic
    behind: frozenset[int] = frozenset()  # surely not the best
    disturbed: frozenset[int] = frozenset()  # windows (by place) that say nothing
    done: bool = False

    @property
    def out(self) -> frozenset[int]:
        """Arms that get no packets any more."""
        return self.stopped | self.behind


@dataclass(kw_only=True)
class TrialEnd:
    """Decides after each window; one object for one trial.

    Without ``precision`` (times are not what is compared) arms are only stopped for being far
    worse, and the trial ends when its samples are there. ``disturbed`` goes from trial to trial.
    """

    settings: SearchSettings
    precision: float | None
    disturbed: Disturbed = field(default_factory=Disturbed)
    looks: int = 0
    _next: int = RELIABLE_N
    _stopped: set[int] = field(default_factory=set)
    _behind: set[int] = field(default_factory=set)

    def look(self, windows: Sequence[Windows]) -> Look:
        """``windows`` of every arm, generic and its twin first; each (windows, buckets)."""
        for place in self._running(len(windows)):
            if far_worse(windows[0], windows[place], self.settings):
                self._stopped.add(place)
        done, left_out = not self._running(len(windows)), frozenset[int]()
        if not done and self.precision is not None:
            with contextlib.suppress(MeasurementError):  # too few packets yet
                left_out = self._disturbed(windows)
                calm = [place for place in range(len(windows[0])) if place not in left_out]
                done = self._look_at([counts[calm] for counts in windows], self.precision)
        return Look(
            stopped=frozenset(self._stopped),
            behind=frozenset(self._behind),
            disturbed=left_out,
            done=done,
        )

    def _disturbed(self, windows: Sequence[Windows]) -> frozenset[int]:
        """Of an arm that was taken out two windows are left, whatever they were."""
        found = self.disturbed.windows(windows[:CONTROLS])
        for arm in self._stopped | self._behind:
            seen = {int(place) for place in np.flatnonzero(windows[arm].sum(axis=1))}
            if len(seen - found) < LEAST_WINDOWS:
                found -= seen
        return found

    def _look_at(self, windows: Sequence[Windows], precision: float) -> bool:
        """Now and then: whether these are enough."""
        count = len(windows[0])
        if count < self._next:
            return False
        self._next = max(count + 1, round(count * SPARSE))
        self.looks += 1
        return self._known_enough(windows, precision)

    def _running(self, arms: int) -> list[int]:
        return [p for p in range(CONTROLS, arms) if p not in self._stopped | self._behind]

    def _known_enough(self, windows: Sequence[Windows], precision: float) -> bool:
        """Whether more windows would not change what is decided.

        Arms are compared with the best one, not by their gains over generic: what moves all of
        them moves good ones alike.
        """
        running, allowed_ns = self._running(len(windows)), precision * trimmed_mean(windows[0])
        gains = {place: self._difference(windows, 0, place) for place in running}
        best = max(running, key=lambda place: gains[place].value)
        lags = {place: self._difference(windows, place, best) for place in running if place != best}
        floor = self._difference(windows, 0, 1)
        floor_ns = abs(floor.value) + floor.half_width
        self._behind |= {p for p, lag in lags.items() if lag.low > 0 and lag.value > floor_ns}
        needed_ns = max(MINIMAL_GAIN * trimmed_mean(windows[0]), abs(floor.value))
        ties = [lag for place, lag in lags.items() if place not in self._behind]
        return all(effect.half_width <= allowed_ns for effect in (*ties, floor)) and (
            gains[best].half_width <= allowed_ns or gains[best].low > needed_ns + allowed_ns
        )

    def _difference(self, windows: Sequence[Windows], one: int, other: int) -> Effect:
        """Time of ``one`` less that of ``other``, in ns."""
        effect = paired_difference(windows[one], windows[other])
        return anytime(effect, look=self.looks, arms=len(windows))
