# SPDX-License-Identifier: GPL-2.0-only
"""A search while it runs, told from its events: a live panel on a terminal, else plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import click
from rich.console import Console
from rich.live import Live

from iridescent_xdp import render

Event = Mapping[str, Any]
TWIN = "generic again"


@dataclass(kw_only=True)
class Tally:
    """What the events so far add up to."""

    interface: str
    space_size: int = 0
    built: int = 0
    refused: int = 0
    measured: set[str] = field(default_factory=set)
    packets: int = 0
    best: str = "generic"
    best_ns: float = 0.0
    generic_ns: float = 0.0
    last: str = ""
    outcome: str = ""
    began: float = field(default_factory=time.monotonic)

    def add(self, event: Event) -> None:
        """Count one event in."""
        kind = event["event"]
        if kind == "space":
            self.space_size = event["size"]
        self.built += kind == "built"
        self.refused += kind == "refused"
        if kind == "trial":
            self._trial(event)
        if kind in ("decision", "kept"):
            self.outcome = describe(event).removeprefix("decision: ")
        self.last = describe(event) or self.last

    def _trial(self, event: Event) -> None:
        arms = event["arms"]
        self.packets += sum(arm["packets"] for arm in arms)
        self.generic_ns = arms[0]["time_ns"]
        candidates = [arm for arm in arms if arm["variant"] not in ("generic", TWIN)]
        self.measured |= {arm["variant"] for arm in candidates}
        quickest = min(arms, key=lambda arm: arm["time_ns"] if arm["variant"] != TWIN else 1e9)
        better = not self.best_ns or quickest["time_ns"] < self.best_ns
        if better or self.best in {arm["variant"] for arm in arms}:
            self.best, self.best_ns = quickest["variant"], quickest["time_ns"]


def _refused(event: Event) -> str:
    return f"refused {event['variant']}: {event['reason']}"


def _trial(event: Event) -> str:
    arms = event["arms"]
    others = [arm for arm in arms if arm["variant"] != TWIN]
    best = min(others, key=lambda arm: arm["time_ns"])
    packets = sum(arm["packets"] for arm in arms)
    return (
        f"measured {len(arms) - 2} variants on {packets:,} packets: best {best['variant']} "
        f"{best['time_ns']:.1f} ns, generic {arms[0]['time_ns']:.1f} ns"
    )


def _observed(event: Event) -> str:
    return f"saw {event['packets']:,} packets"


def _swap(event: Event) -> str:
    return f"swapped to {event['variant']} in {event['took_us']:.0f} µs"


def _again(event: Event) -> str:
    return f"specialized again {event['after_ms']:.0f} ms after the last change: {event['variant']}"


_WORDS: dict[str, Callable[[Event], str]] = {
    "attached": lambda e: f"attached in {e['mode']} mode: {e['reason']}",
    "adopted": lambda e: f"took over: {e['reason']}",
    "stale_pins_removed": lambda e: f"removed stale pins: {e['reason']}",
    "observed": _observed,
    "space": lambda e: f"{e['size']} variants to choose from",
    "refused": _refused,
    "trial": _trial,
    "trial_failed": lambda e: f"a trial failed: {e['reason']}",
    "decision": lambda e: f"decision: {e['reason']}",
    "kept": lambda e: f"generic stays: {e['reason']}",
    "advice": lambda e: f"advice only, not swapped: {e['variant']}",
    "swap": _swap,
    "retreat": lambda e: (
        f"back to generic, {e['reason']}: {e['swap_us'] + 1e3 * e['grace_ms']:.0f} µs"
    ),
    "tables_changed": lambda e: f"tables changed: {e['reason']}",
    "notes": lambda e: f"{e['reason']}: {'; '.join(e['notes']) or 'nothing'}",
    "specialized_again": _again,
    "not_specialized": lambda e: f"not specialized again: {e['reason']}",
    "reloaded": lambda e: f"operator file read again: {e['reason']}",
    "reload_refused": lambda e: f"operator file not taken: {e['reason']}",
}


def describe(event: Event) -> str:
    """One line for people; empty for events that only matter in numbers."""
    words = _WORDS.get(event["event"])
    return words(event) if words else ""


class Progress:
    """Listens to an event log. ``quiet`` only counts; without a terminal lines are printed."""

    def __init__(self, interface: str, *, quiet: bool = False) -> None:
        self.tally = Tally(interface=interface)
        self.events: list[Event] = []
        self._plain = not quiet and not sys.stderr.isatty()
        self._live: Live | None = None
        if not quiet and not self._plain:
            # refreshed by events only: a compiler may have borrowed the descriptor in between
            console = Console(file=sys.stderr, highlight=False)
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __call__(self, event: Event) -> None:
        """The listener of an EventLog."""
        self.events.append(event)
        self.tally.add(event)
        if self._live is not None and self._live.is_started:
            self._live.update(render.progress_view(self.tally), refresh=True)
        elif self._plain and (line := describe(event)):
            click.echo(f"{self.tally.interface}: {line}", err=True)

    def note(self, line: str) -> None:
        """A line that is no event."""
        if self._live is not None and self._live.is_started:
            self._live.console.print(line)
        elif self._plain or self._live is not None:
            click.echo(f"{self.tally.interface}: {line}", err=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
