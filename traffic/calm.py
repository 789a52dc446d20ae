# SPDX-License-Identifier: GPL-2.0-only
"""Measurements that a busy neighbour of the machine disturbed are made again.

On a shared host a thread gets 1.7 times as slow for tenths of a second when another machine's
thread runs on the same core. A probe (a digest, always of the same bytes) is timed before and after
each measurement; when it took longer than it can, the measurement is repeated, for a bounded time.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

PROBED = bytes(1 << 17)  # some 0.15 ms
SLOWER = 1.1  # times as long as the shortest probe: disturbed
GRACE_S = 1.0  # may be lost however short the measurements are


class Calm:
    """``patience``: repetitions may take so many times as long as what counts (0: none)."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._least = math.inf
        self._counted_s = self._lost_s = 0.0

    def measured(self, measure: Callable[[], _T]) -> _T:
        """The first measurement in calm, or the calmest one when patience is at an end."""
        if not self._patience:
            return measure()
        calmest, found = math.inf, None
        while True:
            began, before = time.monotonic(), _probe_ns()
            value = measure()
            worst = max(before, _probe_ns())
            took_s = time.monotonic() - began
            self._least = min(self._least, before, worst)
            if found is None or worst < calmest:
                calmest, found = worst, value
            if worst <= SLOWER * self._least:
                break
            if self._lost_s > GRACE_S + self._patience * self._counted_s:
                break
            self._lost_s += took_s
        self._counted_s += took_s
        return found


def _probe_ns() -> float:
    began = time.thread_time_ns()
    hashlib.blake2b(PROBED).digest()
    return float(time.thread_time_ns() - began)
