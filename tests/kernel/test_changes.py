# SPDX-License-Identifier: GPL-2.0-only
"""Tables change while specialized code is live, and no packet ever meets a stale entry.

Numbered packets are sent one by one from another process; a change flips what becomes of them.
A packet that is sent after change k has returned, and counted before change k + 1 began, must show
what change k says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.controller import Controller
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.grace import grace_period
from iridescent_xdp.live import LiveCode
from tests.kernel.fixtures import wait_until
from tests.kernel.flips import (
    TABLES,
    Flips,
    dropping,
    matching,
    numbered,
    specialize,
)
from tests.kernel.live import (
    Events,
    fixed,
    generator,
    operated,
    plan_for,
    stream_of,
    udp,
)
from tests.kernel.numbered import PORT, SOURCE
from traffic.testbed import Testbed

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

PERIOD_S = 0.001


@pytest.fixture
def builder() -> Builder:
    return Builder("llvm")


def flipped_under_load(
    bed: Testbed, builder: Builder, out: Path, rule: Callable[[int], Rule], sizes: tuple[int, ...]
) -> tuple[Flips, NDArray[np.void], Events]:
    events = Events()
    with operated(bed, builder, plan_for(TABLES), events) as controller:
        specialize(controller)
        flips = Flips(controller, rule)
        with numbered(bed, out):
            for number, size in enumerate(sizes, start=1):
                flips.burst(size, PERIOD_S)
                wait_until(
                    lambda n=number: len(events.named("specialized_again")) >= n,  # type: ignore[misc]
                    "a specialization after the burst",
                )
                time.sleep(0.03)  # packets meet it
    return flips, np.load(out), events


@pytest.mark.parametrize(
    ("rule", "sizes"),
    [(dropping, (200,) * 8), (matching, (1, 1, 40, 40))],
    ids=["action", "condition"],
)
def test_no_packet_meets_a_stale_rule(
    bed: Testbed,
    builder: Builder,
    tmp_path: Path,
    rule: Callable[[int], Rule],
    sizes: tuple[int, ...],
) -> None:
    """A rule's action changes in the list in use, its condition by a turn of lists."""
    flips, rows, events = flipped_under_load(bed, builder, tmp_path / "rows.npy", rule, sizes)
    certain, stale = flips.judge(rows, "drop" if rule is dropping else "rule")
    bursts = [line for line in events.named("tables_changed") if line["changes"] > 1]
    rate = sum(b["changes"] for b in bursts) / sum(b["seconds"] for b in bursts)
    print(f"{len(flips.ended_ns)} changes, {rate:.0f}/s; {len(rows)} packets, {certain} certain")
    assert stale == 0
    assert certain > 1000 and rows["drop" if rule is dropping else "rule"].mean() < 0.9
    assert len(events.named("retreat")) >= len(sizes), "each burst finds specialized code"
    assert sum(b["changes"] for b in events.named("tables_changed")) == sum(sizes)
    if rule is dropping:
        assert rate > 100, "1,000 a second are asked for; a shared machine gives what it gives"


def test_the_check_sees_a_missing_retreat(
    bed: Testbed, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveCode, "retreat", lambda _: (0.0, 0.0))
    flips, rows, _ = flipped_under_load(bed, builder, tmp_path / "rows.npy", dropping, (200,))
    certain, stale = flips.judge(rows, "drop")
    print(f"without the step back {stale} of {certain} packets are stale")
    assert certain > 100 and stale > 10


# -- during a search -----------------------------------------------------------------------

SEARCHED = fixed(rule_layout=("map", "tree"), vlan_depth=(0, 2))
OTHER = udp(SOURCE, PORT + 5)  # what the search is measured on: rule 5
SEARCHES = 4


def searched_and_changed(
    bed: Testbed, builder: Builder, out: Path
) -> tuple[Flips, NDArray[np.void], Events, list[bool]]:
    plan = plan_for(TABLES, policy={"sample_shift": 6}, points=SEARCHED, max_seconds=20)
    events, changed = Events(), []
    with (
        operated(bed, builder, plan, events) as controller,
        generator(bed, builder, stream_of([OTHER])) as source,
        numbered(bed, out),
    ):
        flips = Flips(controller, matching)
        source.start(pps=100_000)
        for number in range(SEARCHES):
            campaign = Campaign(controller)
            stopper = _ChangeDuringTrial(controller, flips, delay_s=0.05 * (number + 1))
            with stopper:
                campaign.run()
            changed.append(campaign.tables_changed())
            campaign.close()
            assert controller.live_variant == controller.plan.generic
        source.stop()
    return flips, np.load(out), events, changed


class _ChangeDuringTrial:
    """A thread that flips the rule when the dispatcher has stood for a moment."""

    def __init__(self, controller: Controller, flips: Flips, *, delay_s: float) -> None:
        self._controller, self._flips, self._delay_s = controller, flips, delay_s
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        board = self._controller.board
        wait_until(lambda: 4 in board.expected, "a trial")  # an arm stands in its slot
        time.sleep(self._delay_s)
        self._flips.flip()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def test_a_change_ends_a_search_at_once(bed: Testbed, builder: Builder, tmp_path: Path) -> None:
    flips, rows, events, changed = searched_and_changed(bed, builder, tmp_path / "rows.npy")
    certain, stale = flips.judge(rows, "rule")
    assert changed == [True] * SEARCHES
    assert stale == 0 and certain > 1000
    retreats = events.named("retreat")
    assert [line["searching"] for line in retreats] == [True] * SEARCHES
    reasons = [line["reason"] for line in events.named("kept")]
    assert reasons == ["the tables changed while it was searched"] * SEARCHES
    worst_ms = max(e - b for b, e in zip(flips.began_ns, flips.ended_ns, strict=True)) / 1e6
    print(f"a change during a search returned after {worst_ms:.0f} ms at most")


def test_the_check_sees_an_arm_that_goes_on(
    bed: Testbed, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial is told, but nobody takes its arms away before the tables change."""
    monkeypatch.setattr(LiveCode, "retreat", lambda _: (0.0, 0.0))
    flips, rows, _, _ = searched_and_changed(bed, builder, tmp_path / "rows.npy")
    certain, stale = flips.judge(rows, "rule")
    print(f"with the arms left in place {stale} of {certain} packets are stale")
    assert stale > 0


def test_a_change_waits_for_what_ran_before(
    bed: Testbed, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generic is live, but what was there before the swap, or in a search, may decide still."""
    waited: list[float] = []

    def wait() -> float:
        waited.append(grace_period())
        return waited[-1]

    monkeypatch.setattr("iridescent_xdp.live.grace_period", wait)
    with operated(bed, builder, plan_for(TABLES)) as controller:
        flips = Flips(controller, dropping)

        def grace_periods() -> int:
            waited.clear()
            flips.burst(3, PERIOD_S)
            return len(waited)

        grace_periods()
        assert grace_periods() == 0  # nothing else ran since
        specialize(controller)
        controller.swap(controller.plan.generic, b"", reason="test")
        assert grace_periods() == 1
        controller.begin_search()
        controller.end_search()
        assert grace_periods() == 1
        assert grace_periods() == 0
        specialize(controller)
        controller.swap(controller.plan.generic, b"", reason="test")
        waited.clear()
        controller.changes.unsettled = True
        controller.changes.settle()  # the maps that only specialized code reads
        assert len(waited) == 1
