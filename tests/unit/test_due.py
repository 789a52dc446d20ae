# SPDX-License-Identifier: GPL-2.0-only
"""How long the next search waits for the last one."""

from __future__ import annotations

import pytest

from iridescent_xdp.adapt.due import CALM_S, CUT_SHORT_S, LASTING_S, MOST_CALM_S, SearchDue
from iridescent_xdp.config.model import LimitsConfig
from iridescent_xdp.events import EventLog
from iridescent_xdp.limits import Limits


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def due(clock: Clock) -> SearchDue:
    made = SearchDue(Limits(LimitsConfig()), EventLog(None, None), clock)
    clock.now_s += CALM_S
    return made


def waited_s(due: SearchDue, clock: Clock) -> float:
    """Seconds until the next search may begin, to a hundredth; it begins then."""
    due.reason = "a test"
    began_s = clock.now_s
    while not due.may_begin():
        clock.now_s += 0.01
        assert clock.now_s < began_s + 2 * MOST_CALM_S
    assert due.begins() == "a test"
    return round(clock.now_s - began_s, 1)


def test_a_winner_that_does_not_last_doubles_the_pause(due: SearchDue, clock: Clock) -> None:
    assert waited_s(due, clock) == 0
    pauses = []
    for _ in range(7):
        due.ended()
        pauses.append(waited_s(due, clock))
    assert pauses == [4, 8, 16, 32, 60, 60, 60]
    due.ended()
    clock.now_s += MOST_CALM_S + LASTING_S + 1
    assert waited_s(due, clock) == 0
    due.ended()
    assert waited_s(due, clock) == CALM_S


def test_a_search_that_was_cut_short_is_begun_again_soon(due: SearchDue, clock: Clock) -> None:
    waited_s(due, clock)
    pauses = []
    for _ in range(4):
        due.ended(cut_short=True)
        pauses.append(waited_s(due, clock))
    assert pauses == [CUT_SHORT_S, 1, 2, 4]
    due.ended()
    waited_s(due, clock)
    due.ended(cut_short=True)
    assert waited_s(due, clock) == CUT_SHORT_S, "the row of those that were cut short is over"
    due.ended()
    assert waited_s(due, clock) == CALM_S, "a search that decided has its whole pause"
