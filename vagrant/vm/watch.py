# SPDX-License-Identifier: GPL-2.0-only
"""Watching a guest from outside: its console, its progress, its time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

PANIC = re.compile(rb"Kernel panic - not syncing: ([^\r\n]*)")
_LONGEST_TICK_S = 2.0


class Stopwatch:
    """Seconds in which this process ran: while it is stopped, or the machine sleeps, none pass."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._last, self.seconds = clock, clock(), 0.0

    def tick(self) -> float:
        """Add the time since the last tick, at most two seconds; returns the sum."""
        now = self._clock()
        self.seconds += min(now - self._last, _LONGEST_TICK_S)
        self._last = now
        return self.seconds


class Tail:
    """New bytes of a file that grows, and need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset = path, 0

    def read(self) -> bytes:
        """What was added since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                found = file.read()
        except FileNotFoundError:
            return b""
        self._offset += len(found)
        return found


def panic_reason(console: bytes) -> str:
    """The kernel's last words; empty while it lives."""
    found = PANIC.search(console)
    return found[1].decode(errors="replace").strip() if found else ""


def last_line(console: bytes) -> str:
    """The last line of a console that says something, without colours."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.decode(errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
