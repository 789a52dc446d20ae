# SPDX-License-Identifier: GPL-2.0-only
"""Looks during a search, at modelled traffic: what ends it, and what is known after it."""

from __future__ import annotations

from iridescent_xdp.adapt.reading import Reading
from iridescent_xdp.adapt.search_watch import SearchWatch
from iridescent_xdp.adapt.shift import ShiftDetector
from iridescent_xdp.adapt.signature import Signature
from iridescent_xdp.adapt.track import UsualNoise
from iridescent_xdp.events import EventLog
from tests.unit.shift_model import NOTHING, Model, Shares

EVERY_S = 0.1
TAGGED = {"tags": (0.0, 1.0, 0.0)}
NOBODY = Signature()


class Looks:
    """Stands for a sensor at modelled traffic; looks take no time."""

    def __init__(self) -> None:
        self.model, self.shares, self.now, self.count = Model(seed=1, timed=False), NOTHING, 0.0, 0
        self.events: list[dict[str, object]] = []

    def peek(self, _: float) -> Reading:
        self.count += 1
        return self.model.reading(self.shares)

    def watch(self, workload: Signature, noise: UsualNoise | None = None) -> SearchWatch:
        watch = SearchWatch(
            self,  # type: ignore[arg-type]
            every_s=EVERY_S,
            look_s=0.02,
            events=EventLog(None, self.events.append),
            usual=noise,
            clock=lambda: self.now,
        )
        watch.begin(workload)
        return watch

    def after(self, watch: SearchWatch, seconds: float, shares: Shares = NOTHING) -> str:
        """What is said when it was asked every 10 ms for so long."""
        self.shares = shares
        for _ in range(round(seconds * 100)):
            self.now += 0.01
            if watch():
                break
        return watch.moved


def usual(looks: int) -> Signature:
    model = Model(seed=2, timed=False)
    return sum((model.reading().signature for _ in range(looks)), start=Signature())


def test_a_steady_search_goes_on_and_looks_now_and_then() -> None:
    looks = Looks()
    watch = looks.watch(Signature())
    assert not looks.after(watch, 10.0)
    assert 90 <= looks.count <= 100
    assert watch.workload.packets > 40_000


def test_a_change_ends_it_once() -> None:
    looks = Looks()
    watch = looks.watch(Signature())
    assert not looks.after(watch, 2.0)
    began, known = looks.now, watch.workload.packets
    assert looks.after(watch, 2.0, TAGGED) == "tags"
    assert looks.now - began <= 2 * EVERY_S
    assert looks.after(watch, 1.0, TAGGED) == "tags"
    assert [e["event"] for e in looks.events] == ["shift"]
    assert watch.workload.packets == known  # of the workload that was searched, and no other


def test_few_looks_are_a_baseline_while_something_is_built() -> None:
    """A fifth more of IPv6 after six looks is told, not learned."""
    looks = Looks()
    watch = looks.watch(Signature())
    assert not looks.after(watch, 0.6)
    family = {"family": (0.0, 0.01, 0.69, 0.3)}
    assert looks.after(watch, 1.0, family) == "family"


def test_known_noise_judges_the_first_looks() -> None:
    """A change after two looks is told; with a noise to be learned it would be learned, too."""
    model, before = Model(seed=3, timed=False), ShiftDetector()
    for _ in range(60):
        assert before.update(model.reading()) is None
    before.reset(NOBODY)
    looks = Looks()
    watch = looks.watch(NOBODY, before.usual)
    assert not looks.after(watch, 0.25)
    family = {"family": (0.0, 0.01, 0.69, 0.3)}
    assert looks.after(watch, 1.0, family) == "family"
    untold = Looks()
    watch = untold.watch(NOBODY)
    untold.after(watch, 0.25)
    assert not untold.after(watch, 1.0, family)


def test_what_changed_before_its_first_look_is_seen() -> None:
    looks = Looks()
    assert looks.after(looks.watch(usual(10)), 1.0, TAGGED) == "tags"
    assert looks.count <= 2
    assert not Looks().after(looks.watch(Signature()), 1.0, TAGGED)  # nothing to compare with
