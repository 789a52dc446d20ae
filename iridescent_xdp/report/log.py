# SPDX-License-Identifier: GPL-2.0-only
"""Reads an event log: lines into events, events into runs. What cannot be read is told.

A log may hold several interfaces (each line names its own) and several runs one after the other
(``elapsed_s`` begins again), and its last line may be torn, because a controller may be killed
while it writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from iridescent_xdp.errors import ConfigError

JUMP_S = 0.5  # threads may write out of order, but not by this much
OPENERS = frozenset({"attached", "adopted"})  # one of them per run
TOLD_LINES = 5  # unreadable lines that are named one by one
_BEGIN = '{"time": '  # of a line, as EventLog writes it
_CURE = "give the file that 'iridescent run --events FILE' wrote"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One event: its line in the file, seconds since its run began, all that it holds."""

    line: int
    at_s: float
    kind: str
    fields: Mapping[str, Any]


@dataclass(kw_only=True)
class RawRun:
    """What one controller wrote about one interface; ``began`` is a Unix time in s, or None."""

    interface: str
    entries: list[Entry] = field(default_factory=list)
    began: float | None = None

    @property
    def opened(self) -> bool:
        """Whether its controller has taken the interface."""
        return any(entry.kind in OPENERS for entry in self.entries)

    def add(self, entry: Entry) -> None:
        """Append; the clock's second (rounded down) says when the run began, at the earliest."""
        self.entries.append(entry)
        wall = _wall(entry.fields)
        if wall is not None:
            began = wall - entry.at_s
            self.began = began if self.began is None else max(self.began, began)

    def followed_by(self, entry: Entry) -> bool:
        """Whether the entry belongs to the next run."""
        back = self.entries[-1].at_s - entry.at_s if self.entries else 0.0
        return back > JUMP_S or (entry.kind in OPENERS and self.opened)


@dataclass(frozen=True, kw_only=True)
class Log:
    """A whole file; ``problems`` are lines that could not be taken, in words."""

    path: Path
    lines: int
    runs: tuple[RawRun, ...]
    problems: tuple[str, ...]


def read_log(path: Path) -> Log:
    """Read the file. Raises ConfigError when there is none, or when it holds something else."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"cannot read the event log {path}: {error.strerror or error}", cure=_CURE
        ) from error
    lines = text.split("\n")
    entries, bad = _parse(lines)
    if bad and not entries:
        number, why = bad[0]
        raise ConfigError(f"{path} is not an event log: line {number} {why}", cure=_CURE)
    return Log(
        path=path,
        lines=sum(1 for line in lines if line.strip()),
        runs=tuple(_runs(entries)),
        problems=tuple(_told(bad, len(lines))),
    )


def _told(bad: list[tuple[int, str]], last: int) -> list[str]:
    """A whole line ends with a newline, so what stands after the last one is torn."""
    told = [f"line {number} {why}" for number, why in bad[:TOLD_LINES] if number != last]
    if bad and bad[-1][0] == last:
        told.append(f"the last line ({last}) is torn: the controller died while it wrote it")
    left = len(bad) - len(told)
    return [*told, f"{left} more lines are no events"] if left > 0 else told


def _parse(lines: Iterable[str]) -> tuple[list[Entry], list[tuple[int, str]]]:
    entries: list[Entry] = []
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields, torn = _fields(line)
            entries.append(_entry(number, fields))
        except json.JSONDecodeError:
            bad.append((number, "is no JSON"))
        except (KeyError, TypeError, ValueError):
            bad.append((number, "is no event: one has 'event' and 'elapsed_s'"))
        else:
            if torn:
                bad.append((number, "begins with a torn event: a controller died there"))
    return entries, bad


def _fields(line: str) -> tuple[Any, bool]:
    """The event of a line, and whether the rest of a torn one stands before it.

    Raises JSONDecodeError. The next controller appends right behind what the killed one left.
    """
    try:
        return json.loads(line), False
    except json.JSONDecodeError:
        behind = line.rfind(_BEGIN)
        if behind <= 0:
            raise
        return json.loads(line[behind:]), True


def _entry(number: int, fields: Any) -> Entry:
    at_s = float(fields["elapsed_s"])
    if not 0 <= at_s < float("inf"):
        raise ValueError(f"0 <= elapsed_s must hold, got {at_s}")
    return Entry(line=number, at_s=at_s, kind=str(fields["event"]), fields=fields)


def _runs(entries: Iterable[Entry]) -> list[RawRun]:
    """In the order of their first lines. A line without an interface belongs to all that run."""
    runs: list[RawRun] = []
    last: dict[str, RawRun] = {}
    nameless: list[Entry] = []
    for entry in entries:
        name = str(entry.fields.get("interface") or "")
        if not name:
            nameless.append(entry)
            for run in last.values():
                run.entries.append(entry)
            continue
        if name not in last or last[name].followed_by(entry):
            last[name] = RawRun(interface=name)
            runs.append(last[name])
        last[name].add(entry)
    return runs if runs or not nameless else _unnamed(nameless)


def _unnamed(entries: Iterable[Entry]) -> list[RawRun]:
    """A log in which no line names an interface: the runs of one."""
    runs: list[RawRun] = []
    for entry in entries:
        if not runs or runs[-1].followed_by(entry):
            runs.append(RawRun(interface=""))
        runs[-1].add(entry)
    return runs


def _wall(fields: Mapping[str, Any]) -> float | None:
    try:
        return datetime.strptime(str(fields["time"]), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except (KeyError, ValueError):
        return None
