# SPDX-License-Identifier: GPL-2.0-only
"""What an operator's limits allow, and the account of what exploring cost."""

from __future__ import annotations

import calendar
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.config.model import LimitsConfig
from iridescent_xdp.limits import Limits, RegretMeter
from tests.unit.test_objectives import result
from tests.unit.window_model import constant

DAY = calendar.timegm((2025, 3, 14, 0, 0, 0))
MINUTES = st.integers(0, 24 * 60 - 1)


def limits(searches_per_hour: int | None = None, **keys: object) -> Limits:
    """On a machine whose local time is UTC."""
    config = LimitsConfig.model_validate(keys)
    return Limits(config, searches_per_hour=searches_per_hour, local=time.gmtime)


def at(clock: str) -> float:
    hour, minute = clock.split(":")
    return DAY + int(hour) * 3600 + int(minute) * 60


def test_without_limits_everything_may_happen_at_any_time() -> None:
    free = limits()
    for number in range(1000):
        assert free.allow_swap(DAY + number) is None and free.allow_search(DAY + number) is None
        free.note_swap(DAY + number)
        free.note_search(DAY + number)
    assert free.share(0.5) == 0.5 and free.regret().over_budget() is None


# -- quiet hours -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clock", "quiet"),
    [("22:29", False), ("22:30", True), ("23:59", True), ("00:00", True), ("05:59", True),
     ("06:00", False), ("11:59", False), ("12:00", True), ("12:59", True), ("13:00", False)],
)  # fmt: skip
def test_quiet_hours_go_over_midnight(clock: str, quiet: bool) -> None:
    here = limits(quiet_hours=["22:30-06:00", "12:00-13:00"])
    span = "12:00-13:00" if clock.startswith("1") else "22:30-06:00"
    reason = f"quiet hours {span}, it is {clock}" if quiet else None
    assert here.allow_swap(at(clock)) == reason
    assert here.allow_search(at(clock) + 59.9) == reason


@given(MINUTES, MINUTES, MINUTES)
def test_a_span_is_walked_from_its_begin_to_its_end(begin: int, end: int, now: int) -> None:
    if begin == end:
        return
    walked, minute = set[int](), begin
    while minute != end:
        walked.add(minute)
        minute = (minute + 1) % (24 * 60)
    text = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    assert (limits(quiet_hours=[text]).allow_swap(DAY + now * 60) is not None) == (now in walked)


def test_a_whole_day_can_be_quiet() -> None:
    here = limits(quiet_hours=["00:00-24:00"])
    assert all(here.allow_swap(DAY + minute * 60) for minute in range(24 * 60))


def test_quiet_hours_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """POSIX: UTC-2 is two hours ahead of UTC."""
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        here = Limits(LimitsConfig(quiet_hours=("22:00-23:00",)))
        assert here.allow_swap(at("20:30")) == "quiet hours 22:00-23:00, it is 22:30"
        assert here.allow_swap(at("22:30")) is None
    finally:
        monkeypatch.undo()
        time.tzset()


# -- rates -----------------------------------------------------------------------------------


def test_swaps_per_minute() -> None:
    here = limits(swaps_per_minute=2)
    for second in (0.0, 10.0):
        assert here.allow_swap(DAY + second) is None
        here.note_swap(DAY + second)
    assert here.allow_swap(DAY + 15) == ("swaps_per_minute is 2, the next one may come in 45.0 s")
    assert here.allow_swap(DAY + 59.9) is not None
    assert here.allow_swap(DAY + 60) is None
    assert here.allow_search(DAY + 15) is None


def test_searches_per_hour() -> None:
    here = limits(searches_per_hour=1)
    here.note_search(DAY)
    told = "max_searches_per_hour is 1, the next one may come in 1800.0 s"
    assert here.allow_search(DAY + 1800) == told
    assert here.allow_swap(DAY + 1800) is None and here.allow_search(DAY + 3600) is None


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5))
def test_no_minute_has_more_swaps_than_allowed(gaps: list[float], most: int) -> None:
    here, now, swaps = limits(swaps_per_minute=most), float(DAY), list[float]()
    for gap in gaps:
        now += gap
        if here.allow_swap(now) is None:
            here.note_swap(now)
            swaps.append(now)
    for first in swaps:
        assert sum(first <= swap < first + 60 for swap in swaps) <= most


def test_a_clock_that_is_set_back_does_not_lock_the_operator_out() -> None:
    here = limits(swaps_per_minute=1)
    here.note_swap(DAY + 7200)
    assert here.allow_swap(DAY) is None


def test_the_share_is_the_smaller_one() -> None:
    here = limits(max_share=0.2)
    assert (here.share(1.0), here.share(0.1)) == (0.2, 0.1)


# -- regret ----------------------------------------------------------------------------------


def test_regret_is_weighted_by_packets_and_earns_nothing_back() -> None:
    meter = RegretMeter(2.0)
    assert meter.pct == 0 and meter.over_budget() is None
    meter.add(900, 100.0, 100.0)  # generic itself
    meter.add(90, 50.0, 100.0)  # faster
    assert meter.pct == 0
    meter.add(10, 300.0, 100.0)  # 2,000 ns lost, of 100,000
    assert meter.pct == pytest.approx(2.0) and meter.over_budget() is None
    meter.add(1, 101.0, 100.0)
    assert meter.packets == 1001
    meter.add(10, 300.0, 100.0)
    told = meter.over_budget()
    assert told is not None and told.startswith("max_regret_pct is 2, exploring cost 3.96 %")
    assert RegretMeter().affordable(500.0, 100.0, 64) == 64


def test_a_trial_is_accounted_arm_by_arm() -> None:
    """100 samples in each of 12 windows; packets are the samples here."""
    arms = [result(constant(ns)) for ns in (100, 104, 150, 60)]  # the second is generic again
    meter = RegretMeter()
    meter.add_trial(arms)
    assert meter.packets == 4 * 1200
    assert meter.pct == pytest.approx(100 * 50 / 400)


@given(
    st.floats(0.1, 50), st.floats(1, 1000), st.floats(1, 1000), st.integers(0, 10**6),
    st.integers(0, 10**6),
)  # fmt: skip
def test_what_is_affordable_keeps_the_budget(
    budget: float, arm_ns: float, generic_ns: float, before: int, coming: int
) -> None:
    meter = RegretMeter(budget)
    meter.add(before, generic_ns, generic_ns)
    given_to_arm = meter.affordable(arm_ns, generic_ns, coming)
    assert 0 <= given_to_arm <= coming
    meter.add(given_to_arm, arm_ns, generic_ns)
    meter.add(coming - given_to_arm, generic_ns, generic_ns)
    assert meter.pct <= budget * (1 + 1e-9)
    if given_to_arm < coming:  # and it is no smaller than it must be
        meter.add(2, arm_ns, generic_ns)
        assert meter.pct > budget * (1 - 1e-3) or before + coming < 10**5


def test_impossible_accounts_are_refused() -> None:
    for wrong in ((-1, 1.0, 1.0), (1, -1.0, 1.0), (1, 1.0, 0.0)):
        with pytest.raises(ValueError, match="generic_ns > 0 must hold"):
            RegretMeter().add(*wrong)


def test_a_meter_has_the_operators_budget() -> None:
    assert limits(max_regret_pct=1.5).regret().budget_pct == 1.5
    assert np.isclose(RegretMeter(3).affordable(200.0, 100.0, 100), 3)
