# SPDX-License-Identifier: GPL-2.0-only
"""After a search: look at the traffic again and again, and decide anew when it has changed.

One ``step`` is one look. A shift of the workload first asks the memory: a workload that was seen
before gets its winner back at once. Otherwise what is live stays as long as it is better than
generic, and a search is due. What surely is slower than generic is given up without a search.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from iridescent_xdp.adapt.due import SearchDue
from iridescent_xdp.adapt.reading import Reading, ReadingStatus
from iridescent_xdp.adapt.recall import Winners, has_hot_keys
from iridescent_xdp.adapt.search_watch import SearchWatch
from iridescent_xdp.adapt.sensor import Sensor
from iridescent_xdp.adapt.shift import Shift, ShiftDetector, tell_shift
from iridescent_xdp.adapt.signature import MISSES, Signature
from iridescent_xdp.adapt.worth import Worth
from iridescent_xdp.controller import Controller
from iridescent_xdp.limits import Limits
from iridescent_xdp.misses import Missed, MissWatch, Won, break_evens, won_by
from iridescent_xdp.statistics import Effect
from iridescent_xdp.summary import Summary
from iridescent_xdp.variant import Variant

TELL_S = 1.0  # between two readings in the event log
SETTLED_PACKETS = 1000  # whose headers were read: enough to remember the workload by
ASKS_AT_ONCE, ASKS_LATER = 3, 5  # looks after a change that ask the memory: at once, and later on
# what moves when other keys are hot
OTHER_KEYS = (MISSES + "hot_", "kept", "targets", "flows", "time")
NOTHING = Signature()


class Adapter:
    """Adapts one controller. One thread calls ``step`` and ``searched``."""

    def __init__(
        self,
        controller: Controller,
        limits: Limits,
        memory: Path | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``memory`` is the file of winners; None: nothing is remembered beyond this adapter."""
        self._controller = controller
        self._clock = clock
        self._settings = controller.plan.config.adapt
        self._look_s = self._settings.look_ms / 1000
        self.sensor = Sensor(controller)
        self.detector = ShiftDetector()
        self.winners = Winners(controller, limits, memory)
        self._due = SearchDue(limits, controller.events, clock)
        self.search_watch = SearchWatch(
            self.sensor,
            every_s=self._settings.every_ms / 1000,
            look_s=self._look_s,
            events=controller.events,
            usual=self.detector.usual,
            clock=clock,
        )
        self._worth = Worth()
        self._told = clock()
        self._asks = 0  # later looks that still ask the memory, before a search
        self._begin(None)

    def _begin(
        self,
        won: Won | None,
        *,
        gain: Effect | None = None,
        known: bool = False,
        workload: Signature = NOTHING,
    ) -> None:
        """Something new is live, or the workload is a new one: ``workload``, as far as it is seen
        already. With ``known`` nothing is to be remembered."""
        controller = self._controller
        self.sensor.reset()
        self.detector.reset(workload)
        self._worth.reset()
        self._variant = controller.live_variant
        limits = break_evens(controller.plan, self._variant, won) if won is not None else {}
        self.misses = MissWatch(controller, limits)  # what was missed before counts no more
        self._seen = Signature()  # since then, for the memory
        self._workload = workload  # of all looks, for a search
        self._won, self._gain, self._known = won, gain, known

    # -- looking ---------------------------------------------------------------------------

    def step(self) -> Reading:
        """One look, and what follows from it. Raises AttachError and OSError as the sensor does."""
        reading = self.sensor.sense(self._look_s)
        self._tell(reading)
        missed = self.misses.add(reading.signature.missed)
        if missed is not None:
            self._on_misses(missed, reading)
            return reading
        if self._controller.live_variant != self._variant:  # the tables changed
            self._begin(self._won, gain=self._gain, known=True)
            return reading
        if reading.status is not ReadingStatus.LOOKED or self._asked_again(reading):
            return reading
        shift = self.detector.update(reading)
        if shift is not None:
            self._on_shift(shift)
            return reading
        self._workload += reading.signature
        self._remember(reading)
        lost = self._worth.add(reading)
        if lost is not None and self._variant != self._controller.plan.generic:
            self._give_up(lost)
        return reading

    def _tell(self, reading: Reading) -> None:
        now = self._clock()
        if now - self._told < TELL_S:
            return
        self._told = now
        self._controller.events.tell(
            "reading",
            status=reading.status.value,
            pps=reading.pps,
            packets=reading.packets,
            time_ns=reading.time_ns,
            reference_ns=reading.reference_ns,
            live=self._controller.plan.label(self._controller.live_variant),
            signature=reading.signature.shares(),
        )

    # -- deciding --------------------------------------------------------------------------

    def _on_shift(self, shift: Shift) -> None:
        tell_shift(self._controller.events, shift)
        if self._other_keys(shift):
            self._learn_keys("other keys are hot now")
        else:
            keys_moved = shift.moved != ("time",)
            reason = f"the workload changed: {shift.group}"
            self._on_change(reason, shift.signature, keys_moved=keys_moved)

    def _other_keys(self, shift: Shift) -> bool:
        """Whether nothing moved but which keys are hot, and some are compiled in."""
        of_keys = [name for name in shift.moved if name.startswith(OTHER_KEYS)]
        missed = any(name.startswith(MISSES) for name in of_keys)
        all_of_keys = len(of_keys) == len(shift.moved)
        return missed and all_of_keys and has_hot_keys(self._controller, self._variant)

    def _learn_keys(self, reason: str) -> None:
        """The same variant with the keys of now."""
        learnt = self.winners.make_live(self._variant, reason) is not None
        if not learnt:
            self._due.reason = reason
        self._begin(self._won, gain=self._gain, known=True)

    def _on_misses(self, missed: Missed, reading: Reading) -> None:
        """A known workload gets its winner at once; else the generic code decides meanwhile."""
        self._controller.events.tell(
            "shift",
            group=MISSES + missed.points[0],
            after={"miss": missed.share, "hit": 1 - missed.share},
            statistic=missed.share,
            threshold=missed.limit,
            reason=missed.reason,
        )
        names = ", ".join(missed.points)
        if not self._on_change(f"too many packets miss {names}", reading.signature, missed=True):
            self.misses.give_up(missed)
            self._begin(None, known=True, workload=self._workload)

    def _on_change(
        self,
        reason: str,
        signature: Signature | None = None,
        *,
        missed: bool = False,
        keys_moved: bool = True,
    ) -> bool:
        """Recall, or have it searched; whether it was recalled. The look that showed the change
        (``signature``) may have seen both workloads, so some more are asked first."""
        seen: list[Signature] = []
        known = False
        while self.winners.any and not known and len(seen) < ASKS_AT_ONCE:
            seen.append(self.sensor.sense(self._look_s, at_once=True).signature)
            known = self._recall(seen[-1], missed=missed, keys_moved=keys_moved)
        if not known and signature is not None:
            known = self._recall(signature, missed=missed, keys_moved=keys_moved)
        self._due.reason, self._asks = ("", 0) if known else (reason, ASKS_LATER)
        if not known:
            # nothing has won on it yet; all but the first look certainly are of it
            self._begin(None, known=True, workload=sum(seen[1:], start=NOTHING))
        return known

    def _asked_again(self, reading: Reading) -> bool:
        """A change that takes its time is over in one of the next looks."""
        if not self._asks or not self._due.reason:
            return False
        self._asks -= 1
        if not self._recall(reading.signature):
            return False
        self._due.reason, self._asks = "", 0
        return True

    def _recall(
        self, signature: Signature, *, missed: bool = False, keys_moved: bool = True
    ) -> bool:
        """Whether the workload is a known one; its winner is live then. ``missed``: too many
        packets miss what is live, which is no winner then unless for keys that are not hot. Where
        only the time per packet moved (not ``keys_moved``) a live winner's keys are still hot."""
        controller = self._controller
        found = self.winners.find(signature)
        if found is None:
            return False
        live = found.variant == controller.live_variant
        keys = has_hot_keys(controller, found.variant)
        if live and missed and not keys:
            return False
        took_ms = 0.0 if live and not (keys and keys_moved) else self.winners.again(found)
        if took_ms is None:
            return False
        won = Won(gain_ns=found.gain.value) if found.gain is not None else None
        self._begin(won, gain=found.gain, known=True, workload=signature)
        controller.events.tell(
            "recalled",
            variant=controller.plan.label(found.variant),
            distance=found.distance.hellinger,
            took_ms=took_ms,
        )
        return True

    def _give_up(self, reason: str) -> None:
        """Back to generic, which is always allowed, and no variant is remembered for this."""
        controller = self._controller
        controller.give_up(controller.plan.generic, reason=reason)
        self.winners.forget(self._seen, self._variant)
        self._due.reason = "the variant was slower than generic"
        self._begin(None, known=True)

    # -- searching and remembering ---------------------------------------------------------

    @property
    def search_due(self) -> str:
        """Why a search is due; empty when none is."""
        return self._due.reason

    def may_search(self) -> bool:
        """Whether a search is due and allowed now."""
        return self._due.may_begin()

    def begins(self) -> str:
        """A search begins; returns why."""
        self.search_watch.begin(self._workload)
        return self._due.begins()

    def searched(self, summary: Summary | None) -> None:
        """A search is over; None: it failed."""
        self._due.ended(cut_short=summary is not None and bool(summary.moved))
        gain = None
        if summary is not None and summary.decision is not None:
            gain = summary.decision.gains.get(summary.winner_label)
        unsure = summary is None or bool(summary.moved) or summary.interrupted
        workload = self.search_watch.workload
        self._begin(won_by(summary, gain), gain=gain, known=unsure, workload=workload)
        if summary is not None and summary.moved:
            self._on_change("the traffic changed while it was searched")

    def seeds(self) -> list[Variant]:
        """What to try first in a search."""
        live = self._controller.live_variant
        return [live] if live != self._controller.plan.generic else []

    def _remember(self, reading: Reading) -> None:
        """The winner of the last search, when enough was seen of the workload it won on."""
        if self._known:
            return
        self._seen += reading.signature
        if self._seen.packets >= SETTLED_PACKETS:
            self._known = True
            self.winners.remember(self._seen, self._variant, self._gain)

    # -- leaving ---------------------------------------------------------------------------

    def close(self) -> None:
        """Give the sensor back."""
        self.sensor.close()
        self.winners.close()
