# SPDX-License-Identifier: GPL-2.0-only
"""The timeline of a run: throughput and time per packet, phases, searches, what was live, marks.

Drawn for a width, because a picture that is only scaled down cannot be read on a telephone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iridescent_xdp.report import words
from iridescent_xdp.report.model import GENERIC, TWIN, Mark, Run, Span
from iridescent_xdp.report.series import stretches, thin
from iridescent_xdp.report.svg import Axis, Drawing, fit, hover

WIDE, NARROW = 1040.0, 400.0
COLOURS = 6  # variants with one of their own: v0 is generic, the others v1 to v6, then vx
LEFT, RIGHT, LANE = 62.0, 14.0, 20.0
RATE_HEIGHT, TIME_HEIGHT, BETWEEN = 120.0, 210.0, 34.0
BADGE = 17.0  # pixels that a mark's number needs
MINIMAL_S = 0.02  # a trial is drawn at least this long
HEADROOM = 1.08


def colours(run: Run) -> dict[str, str]:
    """CSS classes of variants: those that were live, in their order, then the winners."""
    names = [span.name for span in run.lives] + [s.winner for s in run.searches]
    names = [name for name in dict.fromkeys(names) if name not in (GENERIC, "")]
    found = {GENERIC: "v0"}
    for number, name in enumerate(names, start=1):
        found[name] = f"v{number}" if number <= COLOURS else "vx"
    return found


def draw_timeline(run: Run, width: float = WIDE, *, anchor: str = "") -> Drawing:
    """The picture; marks link to ``#ANCHOR-NUMBER``."""
    return _Timeline(run, width, anchor).draw()


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """A plot with its vertical axis."""

    y: Axis
    unit: str


class _Timeline:
    def __init__(self, run: Run, width: float, anchor: str) -> None:
        self._run, self._width, self._anchor = run, width, anchor
        self._x = Axis(low=0.0, high=max(run.end_s, MINIMAL_S), start=LEFT, end=width - RIGHT)
        self._colours = colours(run)
        self._rates = [(x.at_s, x.seen.pps) for x in run.looks if x.seen.pps is not None]
        self._top = 0.0

    def draw(self) -> Drawing:
        """Lanes from the top down, then the panels, then what stands across them."""
        run = self._run
        badges = self._badges()
        rows = 1 + max((row for _, row, _ in badges), default=0)
        below = rows * (BADGE + 3) + 6 if badges else 4
        lanes = [bool(run.phases), bool(run.searches), bool(run.lives)]
        panels = below + sum(lanes) * (LANE + 4) + 24
        rate = RATE_HEIGHT + BETWEEN if self._rates else 0.0
        height = panels + rate + TIME_HEIGHT + 40
        self._drawing = Drawing(
            width=self._width, height=height, label=self._label(), css="timeline"
        )
        self._lanes(below)
        self._shade(panels, height - 40)
        if self._rates:
            self._rate(_panel(self._rates, panels, RATE_HEIGHT, "packets/s"))
        self._times(panels + rate)
        self._seconds(height - 40)
        self._marks(badges, below, panels - 20, height - 40)
        return self._drawing

    def _label(self) -> str:
        run = self._run
        return (
            f"Timeline of {run.name}: {words.seconds(run.end_s)}, {len(run.looks)} readings, "
            f"{len(run.searches)} searches, {run.swaps} swaps. Its moments are listed beside it."
        )

    # -- lanes -----------------------------------------------------------------------------

    def _lanes(self, y: float) -> None:
        run = self._run
        if run.phases:
            spans = [Span(name=p.name, begin_s=p.begin_s, end_s=p.end_s) for p in run.phases]
            classes = ["phase a" if i % 2 else "phase b" for i in range(len(spans))]
            y = self._lane("phase", spans, classes, y)
        if run.searches:
            spans = [
                Span(name=f"search {s.number}", begin_s=s.begin_s, end_s=s.end_s)
                for s in run.searches
            ]
            y = self._lane("search", spans, ["searching"] * len(spans), y)
        if run.lives:
            classes = ["live " + self._colours.get(s.name, "vx") for s in run.lives]
            self._lane("live", list(run.lives), classes, y)

    def _lane(self, name: str, spans: Sequence[Span], classes: Sequence[str], y: float) -> float:
        drawing = self._drawing
        drawing.text("lane-name", LEFT - 6, y + 14, name, "end")
        for span, css in zip(spans, classes, strict=True):
            left, right = self._x(span.begin_s), self._x(span.end_s)
            group = drawing.add("g", f"span {css}")
            hover(group, f"{name}: {span.name}, {_from_to(span)}")
            drawing.add("rect", "", at=group, x=left, y=y, rx=2, height=LANE,
                        width=max(2.0, right - left - 1))  # fmt: skip
            told = fit(span.name, right - left - 8, 11.5)
            if told:
                drawing.add("text", "", at=group, x=left + 5, y=y + 14).text = told
        return y + LANE + 4

    def _shade(self, top: float, bottom: float) -> None:
        for search in self._run.searches:
            left, right = self._x(search.begin_s), self._x(search.end_s)
            self._drawing.box("shade", left, top, right - left, bottom - top)
        for phase in self._run.phases[1:]:
            x = self._x(phase.begin_s)
            self._drawing.line("phase-line", x, top, x, bottom)

    # -- panels ----------------------------------------------------------------------------

    def _frame(self, panel: _Panel, ticks: int) -> None:
        drawing, y = self._drawing, panel.y
        for value in y.ticks(ticks):
            drawing.line("grid", LEFT, y(value), self._width - RIGHT, y(value))
            drawing.text("tick", LEFT - 6, y(value) + 4, words.short(value).strip(), "end")
        drawing.text("unit", LEFT, y.end - 7, panel.unit)

    def _rate(self, panel: _Panel) -> None:
        self._frame(panel, 3)
        for _, points in stretches([(x, y, "") for x, y in self._rates]):
            self._curve("rate", points, panel.y)

    def _curve(self, css: str, points: Sequence[tuple[float, float]], y: Axis) -> None:
        seen = thin(points, int(self._x.end - self._x.start) // 2)
        place = [(self._x(x), y(value)) for x, value in seen.middle]
        if seen.low:
            band = [*seen.high, *reversed(seen.low)]
            self._drawing.path(f"band {css}", [(self._x(x), y(value)) for x, value in band])
        if len(place) == 1:
            self._drawing.add("circle", f"dot {css}", cx=place[0][0], cy=place[0][1], r=2.5)
        else:
            self._drawing.path(f"curve {css}", place)

    def _times(self, top: float) -> None:
        looks = [
            (x.at_s, x.seen.time_ns, x.seen.live or self._live(x.at_s))
            for x in self._run.looks
            if x.seen.time_ns is not None
        ]
        trials = [trial for search in self._run.searches for trial in search.trials]
        known = [(0.0, arm.time_ns) for trial in trials for arm in trial.arms]
        beside = [
            (x.at_s, x.seen.reference_ns, "")
            for x in self._run.looks
            if x.seen.reference_ns is not None
        ]
        known += [(x, y) for x, y, _ in beside]
        panel = _panel([*known, *((x, y) for x, y, _ in looks)], top, TIME_HEIGHT, "ns per packet")
        self._frame(panel, 5)
        if not known and not looks:
            middle = (self._x.start + self._x.end) / 2
            told = "no time per packet in this log"
            self._drawing.text("nothing", middle, top + TIME_HEIGHT / 2, told, "middle")
        self._arms(panel.y)
        for _, points in stretches(beside):
            self._curve("beside v0", points, panel.y)
        for name, points in stretches(looks):
            self._curve("time " + self._colours.get(name, "vx"), points, panel.y)

    def _live(self, at_s: float) -> str:
        spans = (s for s in reversed(self._run.lives) if s.begin_s <= at_s)
        return next((span.name for span in spans), GENERIC)

    def _arms(self, y: Axis) -> None:
        """Each arm of each trial; those with a colour on top."""
        known: Mapping[str, str] = {TWIN: "v0 twin", **self._colours}
        for search in self._run.searches:
            for trial in search.trials:
                begin_s = min(trial.begin_s, trial.end_s - MINIMAL_S)
                left, right = self._x(max(0.0, begin_s)), self._x(trial.end_s)
                for arm in sorted(trial.arms, key=lambda arm: arm.variant in known):
                    height = y(arm.time_ns)
                    css = known.get(arm.variant, "other")
                    drawn = self._drawing.line(f"arm {css}", left, height, right, height)
                    told = f"{words.ns(arm.time_ns)} in a trial, {arm.packets:,} packets"
                    hover(drawn, f"{arm.variant}: {told}")

    def _seconds(self, bottom: float) -> None:
        drawing = self._drawing
        drawing.line("axis", LEFT, bottom, self._width - RIGHT, bottom)
        for value in self._x.ticks(10 if self._width >= WIDE else 4):
            x = self._x(value)
            drawing.line("axis", x, bottom, x, bottom + 4)
            drawing.text("tick", x, bottom + 17, f"{value:g}", "middle")
        middle = (self._x.start + self._x.end) / 2
        told = "seconds since the controller began (shaded: searches)"
        drawing.text("unit", middle, bottom + 33, told, "middle")

    # -- marks -----------------------------------------------------------------------------

    def _badges(self) -> list[tuple[float, int, list[Mark]]]:
        """Marks whose numbers would overlap share one; where it stands and in which row."""
        groups: list[tuple[float, list[Mark]]] = []
        for mark in sorted(self._run.marks, key=lambda mark: mark.at_s):
            x = self._x(mark.at_s)
            if groups and x - groups[-1][0] < BADGE * 0.9:
                groups[-1][1].append(mark)
            else:
                groups.append((x, [mark]))
        free = [0.0] * 3
        placed = []
        for x, marks in groups:
            half = _badge_width(marks) / 2
            row = next((i for i, taken in enumerate(free) if x - half >= taken), 0)
            free[row] = x + half + 2
            placed.append((x, row, marks))
        return placed

    def _marks(
        self,
        badges: Sequence[tuple[float, int, list[Mark]]],
        below: float,
        panels: float,
        bottom: float,
    ) -> None:
        """Faint through the lanes, whose words stay readable."""
        drawing = self._drawing
        for x, row, marks in badges:
            width = _badge_width(marks)
            y = below - 6 - (row + 1) * (BADGE + 3) + 3
            link = drawing.add(
                "a", f"mark {marks[0].kind}", href=f"#{self._anchor}-{marks[0].number}"
            )
            hover(link, "\n".join(_words(mark) for mark in marks))
            for mark in marks:
                at = self._x(mark.at_s)
                drawing.add("line", "lead", at=link, x1=at, y1=y + BADGE, x2=at, y2=panels)
                drawing.add("line", "", at=link, x1=at, y1=panels, x2=at, y2=bottom)
                drawing.add("line", "reach", at=link, x1=at, y1=y, x2=at, y2=bottom)
            left = min(max(x - width / 2, 1.0), self._width - width - 1)
            drawing.add("rect", "", at=link, x=left, y=y, width=width, height=BADGE, rx=BADGE / 2)
            text = drawing.add("text", "", at=link, x=left + width / 2, y=y + 12.5)
            text.set("text-anchor", "middle")
            text.text = _numbers(marks)


def _panel(points: Sequence[tuple[float, float]], top: float, height: float, unit: str) -> _Panel:
    highest = max((y for _, y in points), default=1.0) * HEADROOM or 1.0
    return _Panel(y=Axis(low=0.0, high=highest, start=top + height, end=top), unit=unit)


def _numbers(marks: Sequence[Mark]) -> str:
    first, last = marks[0].number, marks[-1].number
    return str(first) if first == last else f"{first}\u2013{last}"


def _badge_width(marks: Sequence[Mark]) -> float:
    return max(BADGE, 6.5 * len(_numbers(marks)) + 7)


def _words(mark: Mark) -> str:
    because = f": {mark.reason}" if mark.reason else ""
    return f"{mark.number}. {words.seconds(mark.at_s)}: {mark.title}{because}"


def _from_to(span: Span) -> str:
    return f"{words.seconds(span.begin_s)} to {words.seconds(span.end_s)}"
