# SPDX-License-Identifier: GPL-2.0-only
"""The events of a run, in their order, into the model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pydantic import ValidationError

from iridescent_xdp.report import happenings
from iridescent_xdp.report.figures import cost_of, phase_rows
from iridescent_xdp.report.kinds import (
    KINDS,
    TROUBLES,
    Event,
    Opened,
    Phase,
    Reading,
    Recalled,
    Regret,
    Retreat,
    SecondObserver,
    Shift,
    Swap,
)
from iridescent_xdp.report.log import Entry, Log, RawRun
from iridescent_xdp.report.model import (
    GENERIC,
    ChangeRow,
    Look,
    Mark,
    Report,
    Run,
    ShiftRow,
    Span,
)
from iridescent_xdp.report.searches import OF_A_SEARCH, Searches


def collect(log: Log) -> Report:
    """The whole log."""
    return Report(
        log=str(log.path),
        lines=log.lines,
        runs=tuple(_Collector().run(raw) for raw in log.runs),
        problems=log.problems,
    )


@dataclass(kw_only=True)
class _Collector:
    """One run while it is read."""

    opened: Opened = field(default_factory=Opened)
    adopted: bool = False
    end_s: float = 0.0
    regret: Regret | None = None
    searches: Searches = field(default_factory=Searches)
    looks: list[Look] = field(default_factory=list)
    starts: list[tuple[float, str]] = field(default_factory=list)  # what went live
    phases: list[tuple[float, str]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    changes: list[ChangeRow] = field(default_factory=list)
    shifts: list[tuple[float, Shift]] = field(default_factory=list)
    recalls: list[tuple[float, Recalled]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    swaps: int = 0

    def run(self, raw: RawRun) -> Run:
        """Read all, then say what it adds up to."""
        for entry in raw.entries:
            self._add(entry)
            self.end_s = max(self.end_s, entry.at_s)
        searches = self.searches.close()
        self.problems += [
            f"search {s.number} was not finished: {s.reason}"
            for s in searches
            if s.outcome == "unfinished"
        ]
        lives = _spans(self.starts, self.end_s)
        phases = _spans(self.phases, self.end_s)
        trials = [trial for search in searches for trial in search.trials]
        return Run(
            interface=raw.interface,
            began=raw.began,
            end_s=self.end_s,
            function=self.opened.function,
            mode=self.opened.mode,
            toolchain=self.opened.toolchain,
            adopted=self.adopted,
            live=lives[-1].name if lives else "",
            looks=tuple(self.looks),
            phases=tuple(phase_rows(phases, self.looks, lives)),
            lives=lives,
            searches=searches,
            marks=tuple(self.marks),
            shifts=self._shift_rows(phases),
            changes=tuple(self.changes),
            cost=cost_of(trials, self.regret, self.looks),
            swaps=self.swaps,
            problems=tuple(self.problems),
            others=dict(self.others),
        )

    def _add(self, entry: Entry) -> None:
        kind, at_s = entry.kind, entry.at_s
        if kind in TROUBLES:
            self._trouble(entry)
        if kind not in KINDS:
            if kind not in TROUBLES and not happenings.known(kind):
                self.others[kind] += 1
            self._mark(entry, None)
            return
        try:
            event = KINDS[kind].model_validate(dict(entry.fields))
        except ValidationError as error:
            self.problems.append(_told(entry, error))
            return
        if kind in OF_A_SEARCH:
            self.searches.add(kind, event, at_s, self.end_s)
        self._note(kind, event, at_s)
        self._mark(entry, event)

    def _trouble(self, entry: Entry) -> None:
        words = [TROUBLES[entry.kind], entry.fields.get("variant"), entry.fields.get("reason")]
        told = ": ".join(str(word) for word in words if word)
        self.problems.append(f"at {entry.at_s:.2f} s: {told}")

    def _note(self, kind: str, event: Event, at_s: float) -> None:
        match event:
            case Opened():
                self.opened, self.adopted = event, kind == "adopted"
                self._live(at_s, GENERIC)
            case Reading():
                self.looks.append(Look(at_s=at_s, seen=event))
                if event.live:
                    self._live(at_s, event.live)
            case Swap():
                self.swaps += 1
                self._live(at_s, event.variant)
            case Retreat():
                self._live(at_s, GENERIC)
            case Phase():
                self.phases.append((at_s, event.name))
            case Shift():
                self.shifts.append((at_s, event))
            case Recalled():
                self.recalls.append((at_s, event))
            case Regret():
                self.regret = event
            case SecondObserver() if not event.agrees:
                self.problems.append(
                    f"at {at_s:.2f} s: the kernel's statistics do not see {event.variant} ahead"
                )

    def _live(self, at_s: float, label: str) -> None:
        if not self.starts or self.starts[-1][1] != label:
            self.starts.append((at_s, label))

    def _mark(self, entry: Entry, event: Event | None) -> None:
        change = happenings.change(entry.kind, event, entry.fields)
        if change is not None:
            what, detail = change
            self.changes.append(
                ChangeRow(at_s=entry.at_s, kind=entry.kind, what=what, detail=detail)
            )
        title = happenings.title(entry.kind, event, entry.fields)
        if title:
            self.marks.append(
                Mark(
                    number=len(self.marks) + 1,
                    at_s=entry.at_s,
                    kind=entry.kind,
                    title=title,
                    reason=str(entry.fields.get("reason") or ""),
                )
            )

    def _shift_rows(self, phases: tuple[Span, ...]) -> tuple[ShiftRow, ...]:
        ends = [at_s for at_s, _ in self.shifts[1:]] + [float("inf")]
        rows = zip(self.shifts, ends, strict=False)
        return tuple(
            happenings.shift_row(
                at_s,
                shift,
                phase=next((p for p in reversed(phases) if p.begin_s <= at_s), None),
                recalled=next((r for r in self.recalls if at_s <= r[0] < end), None),
                looks=self.looks,
            )
            for (at_s, shift), end in rows
        )


def _spans(starts: list[tuple[float, str]], end_s: float) -> tuple[Span, ...]:
    ends = [at_s for at_s, _ in starts[1:]] + [end_s]
    pairs = zip(starts, ends, strict=False)
    return tuple(Span(name=name, begin_s=at, end_s=end) for (at, name), end in pairs)


def _told(entry: Entry, error: ValidationError) -> str:
    """The first thing that is wrong with an event."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"line {entry.line}: event '{entry.kind}' is left out, {place}: {first['msg'].lower()}"
