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

from iridescent_xdp.adapt.memory import Context, Memory
from iridescent_xdp.adapt.reading import Reading, ReadingStatus
from iridescent_xdp.adapt.recall import has_hot_keys, make_live
from iridescent_xdp.adapt.sensor import Sensor
from iridescent_xdp.adapt.shift import Shift, ShiftDetector
from iridescent_xdp.adapt.signature import Signature
from iridescent_xdp.adapt.worth import Worth
from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import (
    PreflightError,
    StateError,
    ToolchainError,
    VerifierError,
)
from iridescent_xdp.limits import Limits
from iridescent_xdp.live import TablesChangedError
from iridescent_xdp.misses import MissWatch
from iridescent_xdp.statistics import Effect
from iridescent_xdp.summary import Summary
from iridescent_xdp.variant import Variant

TELL_S = 1.0  # between two readings in the event log
SETTLED_PACKETS = 1000  # whose headers were read: enough to remember the workload by
CALM_S = 2.0  # after a search whose winner did not last; doubled each time
MOST_CALM_S = 60.0
LASTING_S = 5.0  # a winner that lived so long was worth its search
MISSES_OF_HOT = "misses of hot_"


class Adapter:
    """Adapts one controller; a context manager. One thread calls ``step`` and ``searched``."""

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
        self._limits = limits
        self._clock = clock
        self._settings = controller.plan.config.adapt
        self.sensor = Sensor(controller)
        self.detector = ShiftDetector()
        self.memory = _open(memory, controller) if memory is not None else None
        self.misses = MissWatch(controller)
        self._worth = Worth()
        self._told = clock()
        self._calm_s, self._searched_at = CALM_S, clock()
        self.search_due = ""  # why; empty when none is
        self._begin(None)

    def _begin(self, gain: Effect | None, *, known: bool = False) -> None:
        """Something new is live, or the workload is a new one."""
        self.sensor.reset()
        self.detector.reset()
        self._worth.reset()
        self._seen = Signature()
        self._gain, self._known = gain, known
        self._variant = self._controller.live_variant

    # -- looking ---------------------------------------------------------------------------

    def step(self) -> Reading:
        """One look, and what follows from it. Raises AttachError and OSError as the sensor does."""
        reading = self.sensor.sense(self._settings.look_ms / 1000)
        self._tell(reading)
        missed = self.misses.look(reading.packets)
        if missed:
            self._on_change(f"most packets miss {', '.join(missed)}", reading.signature)
            return reading
        if self._controller.live_variant != self._variant:  # the tables changed
            self._begin(self._gain, known=True)
            return reading
        if reading.status is not ReadingStatus.LOOKED:
            return reading
        shift = self.detector.update(reading)
        if shift is not None:
            self._on_shift(shift)
            return reading
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
        controller = self._controller
        controller.events.tell(
            "shift",
            group=shift.group,
            before=shift.before,
            after=shift.after,
            statistic=shift.statistic,
            threshold=shift.threshold,
            reason=shift.reason,
        )
        if shift.group.startswith(MISSES_OF_HOT) and has_hot_keys(controller, self._variant):
            self._make_live(self._variant, "other keys are hot now")
        else:
            self._on_change(f"the workload changed: {shift.group}", shift.signature)

    def _on_change(self, reason: str, signature: Signature) -> None:
        """Recall, or have it searched. The look that showed the change may have seen both
        workloads, so one more is asked."""
        fresh = self.sensor.sense(self._settings.look_ms / 1000)
        asked = [fresh.signature, signature]
        if not any(s.packets and self._recall(s) for s in asked):
            self.search_due = reason
            self._begin(None, known=True)  # nothing has won on it yet

    def _recall(self, signature: Signature) -> bool:
        """Whether the workload is a known one; its winner is live then."""
        controller = self._controller
        if self.memory is None:
            return False
        found = self.memory.recall(signature, Context.of(controller.plan))
        if found is None:
            return False
        if found.variant == controller.live_variant:
            self._begin(found.gain, known=True)
            return True
        held = self._held_back()
        if held is not None:
            controller.events.tell("held_back", variant=self._label(found.variant), reason=held)
            return False
        took_ms = self._make_live(found.variant, "this workload was seen before", found.gain)
        if took_ms is None:
            self.memory.forget(found.number)
            return False
        controller.events.tell(
            "recalled",
            variant=self._label(found.variant),
            distance=found.distance.hellinger,
            took_ms=took_ms,
        )
        return True

    def _held_back(self) -> str | None:
        if self._controller.plan.config.apply == "advice":
            return "advice only: nothing is swapped"
        return self._limits.allow_swap(time.time())

    def _make_live(self, variant: Variant, reason: str, gain: Effect | None = None) -> float | None:
        """Milliseconds it took; None when it cannot be made live any more."""
        controller = self._controller
        try:
            took_ms = make_live(controller, variant, reason=reason)
        except (ToolchainError, VerifierError, PreflightError, TablesChangedError) as error:
            label = self._label(variant)
            controller.events.tell("not_recalled", variant=label, reason=str(error))
            self._begin(None)
            return None
        self._limits.note_swap(time.time())
        self._begin(gain, known=True)
        return took_ms

    def _label(self, variant: Variant) -> str:
        return self._controller.plan.label(variant)

    def _give_up(self, reason: str) -> None:
        """Back to generic, which is always allowed, and no variant is remembered for this."""
        controller = self._controller
        controller.give_up(controller.plan.generic, reason=reason)
        if self.memory is not None and self._seen.packets:
            found = self.memory.recall(self._seen, Context.of(controller.plan))
            if found is not None and found.variant == self._variant:
                self.memory.forget(found.number)
        self.search_due = "the variant was slower than generic"
        self._begin(None)

    # -- searching and remembering ---------------------------------------------------------

    def may_search(self) -> bool:
        """Whether a search is due and allowed now; one that is forbidden is told once."""
        if not self.search_due or self._clock() - self._searched_at < self._calm_s:
            return False
        forbidden = self._limits.allow_search(time.time())
        if forbidden is None:
            return True
        self._controller.events.tell("search_held_back", reason=forbidden)
        self.search_due = ""
        return False

    def begins(self) -> str:
        """A search begins; returns why."""
        reason, self.search_due = self.search_due, ""
        lasted_s = self._clock() - self._searched_at
        again = min(MOST_CALM_S, 2 * self._calm_s)
        self._calm_s = CALM_S if lasted_s > self._calm_s + LASTING_S else again
        self._limits.note_search(time.time())
        return reason

    def searched(self, summary: Summary | None) -> None:
        """A search is over; None: it failed."""
        self._searched_at = self._clock()
        gain = None
        if summary is not None and summary.decision is not None:
            gain = summary.decision.gains.get(summary.winner_label)
        self._begin(gain, known=summary is None or bool(summary.moved) or summary.interrupted)
        if summary is not None and summary.moved:
            self.search_due = "the traffic changed while it was searched"

    def seeds(self) -> list[Variant]:
        """What to try first in a search."""
        live = self._controller.live_variant
        return [live] if live != self._controller.plan.generic else []

    def _remember(self, reading: Reading) -> None:
        """The winner of the last search, when enough was seen of the workload it won on."""
        if self.memory is None or self._known:
            return
        self._seen += reading.signature
        if self._seen.packets < SETTLED_PACKETS:
            return
        self._known = True
        try:
            context = Context.of(self._controller.plan)
            self.memory.remember(self._seen, self._variant, self._gain, context)
        except StateError as error:
            self._controller.events.tell("not_remembered", reason=str(error))
            return
        label = self._label(self._variant)
        self._controller.events.tell("remembered", variant=label, packets=self._seen.packets)

    # -- leaving ---------------------------------------------------------------------------

    def close(self) -> None:
        """Give the sensor back."""
        self.sensor.close()
        if self.memory is not None:
            self.memory.close()

    def __enter__(self) -> Adapter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path, controller: Controller) -> Memory | None:
    """Without a memory everything else goes on; that is told."""
    try:
        return Memory(path, tell=controller.events.tell)
    except StateError as error:
        controller.events.tell("not_remembered", reason=str(error))
        return None
