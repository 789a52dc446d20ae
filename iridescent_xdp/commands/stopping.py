# SPDX-License-Identifier: GPL-2.0-only
"""Ctrl-C and SIGTERM as a wish to stop: what is under way ends in order."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Self

SLICE_S = 0.1  # a wish is noticed this soon


class Stopper:
    """Set by the first SIGINT or SIGTERM; the second one interrupts at once.

    A plain flag: a lock that the interrupted code holds would never come free in a handler.
    """

    def __init__(self) -> None:
        self._wished = False
        self._kept: dict[signal.Signals, object] = {}

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._wished

    def wait(self, seconds: float) -> bool:
        """Sleep, but not beyond a wish to stop; returns whether there is one."""
        until = time.monotonic() + seconds
        while not self._wished and (left := until - time.monotonic()) > 0:
            time.sleep(min(SLICE_S, left))
        return self._wished

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._wished:
            raise KeyboardInterrupt
        self._wished = True

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._kept[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._kept.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
