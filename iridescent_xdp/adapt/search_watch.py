# SPDX-License-Identifier: GPL-2.0-only
"""Looks while a search goes on: it is of no use for traffic that is not there any more.

A search takes seconds, and its trials can be put together only if their traffic was the same. So
the thread that searches looks at packet headers as often as otherwise, between two windows of a
trial or two builds, and the search ends at once when they show another workload.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from iridescent_xdp.adapt.sensor import Sensor
from iridescent_xdp.adapt.shift import ShiftDetector, ShiftSettings, tell_shift
from iridescent_xdp.adapt.signature import Signature
from iridescent_xdp.adapt.track import UsualNoise
from iridescent_xdp.events import EventLog

LEARNING = 5  # batches in the baseline: while something is built looks are rare


class SearchWatch:
    """Asked all the time by a search; the shift that ends it is told. ``usual`` is what is known of
    the noise."""

    def __init__(
        self,
        sensor: Sensor,
        *,
        every_s: float,
        look_s: float,
        events: EventLog,
        usual: UsualNoise | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sensor = sensor
        self._every_s, self._look_s = every_s, look_s
        self._events, self._clock = events, clock
        self._detector = ShiftDetector(ShiftSettings(learning=LEARNING), usual)
        self._looked_at = 0.0
        self.moved = ""
        self.workload = Signature()  # of the search, as far as it was looked at

    def begin(self, workload: Signature) -> None:
        """A search begins, for ``workload``; what comes in its first looks is added to that."""
        self._detector.reset(workload)
        self.workload = workload
        self._looked_at = self._clock()
        self.moved = ""

    def __call__(self) -> str:
        """How the workload has changed since the search began; empty while it is the same.

        Looks when the last look is long enough ago. Raises AttachError as the sensor does.
        """
        if self.moved or self._clock() - self._looked_at < self._every_s:
            return self.moved
        reading = self._sensor.peek(self._look_s)
        self._looked_at = self._clock()
        shift = self._detector.update(reading)
        if shift is not None:
            tell_shift(self._events, shift)
            self.moved = shift.group
        else:
            self.workload += reading.signature
        return self.moved
