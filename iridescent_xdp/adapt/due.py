# SPDX-License-Identifier: GPL-2.0-only
"""When the next search may begin: one is due, the operator allows it, the last one is long over.

How long depends on how the last one ended. A winner that did not last says that searching this
traffic is of little use. A search that a change of the traffic cut short says nothing of the kind,
unless the next ones are cut short as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from iridescent_xdp.events import EventLog
from iridescent_xdp.limits import Limits

CALM_S = 2.0  # after a search whose winner did not last; doubled each time
CUT_SHORT_S = 0.5  # after a search that a change ended; doubled while they all are
MOST_CALM_S = 60.0
LASTING_S = 5.0  # a winner that lived so long was worth its search


class SearchDue:
    """``reason`` says why a search is due; empty when none is."""

    def __init__(self, limits: Limits, events: EventLog, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._events = events
        self._clock = clock
        self._calm_s, self._searched_at = CALM_S, clock()
        self._cut_short = 0  # searches that a change ended, the last ones
        self.reason = ""

    def may_begin(self) -> bool:
        """Whether it may begin now; one that the operator forbids is told, and is due no more."""
        if not self.reason or self._clock() - self._searched_at < self._calm_s:
            return False
        forbidden = self._limits.allow_search(time.time())
        if forbidden is None:
            return True
        self._events.tell("search_held_back", reason=forbidden)
        self.reason = ""
        return False

    def begins(self) -> str:
        """It begins; returns why."""
        reason, self.reason = self.reason, ""
        lasted_s = self._clock() - self._searched_at
        again = min(MOST_CALM_S, max(CALM_S, 2 * self._calm_s))
        self._calm_s = CALM_S if lasted_s > self._calm_s + LASTING_S else again
        self._limits.note_search(time.time())
        return reason

    def ended(self, *, cut_short: bool = False) -> None:
        """It is over; ``cut_short``: because its traffic changed."""
        self._searched_at = self._clock()
        self._cut_short = self._cut_short + 1 if cut_short else 0
        if cut_short:
            self._calm_s = min(MOST_CALM_S, CUT_SHORT_S * 2 ** (self._cut_short - 1))
