# SPDX-License-Identifier: GPL-2.0-only
"""The variants of a search side by side: gain over generic, interval, noise, what was needed.

A point without a bar is a variant whose log has no interval: it lost in an early trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iridescent_xdp.report import words
from iridescent_xdp.report.kinds import Interval
from iridescent_xdp.report.model import TWIN, Search, VariantRow
from iridescent_xdp.report.svg import Axis, Drawing, fit, hover

WIDE, NARROW = 1040.0, 400.0
SHOWN = 24  # variants in the picture; the table has all
ROW, STACKED = 24.0, 40.0  # height of a row beside its label, and below it
LABELS, VALUES = 372.0, 170.0  # columns of the wide picture
HEAD, FOOT = 24.0, 40.0


@dataclass(frozen=True, kw_only=True)
class _Row:
    label: str
    css: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def reach(self) -> list[float]:
        return [v for v in (self.value, self.low, self.high) if v is not None]

    @property
    def told(self) -> str:
        """The gain in words; an interval only where there is one."""
        told = words.signed_ns(self.value)
        if self.low is not None and self.high is not None:
            ends = f"{self.low:,.1f} to {self.high:,.1f}".replace("-", "\u2212")
            return f"{told} ({ends})"
        return told


def shown_rows(search: Search) -> list[VariantRow]:
    """Measured variants, the best first, as many as fit."""
    measured = [row for row in search.variants if row.gain_ns is not None]
    return measured[:SHOWN]


def draw_forest(search: Search, width: float = WIDE) -> Drawing | None:
    """The picture; None when nothing was measured against generic."""
    rows = [_row(row) for row in shown_rows(search)]
    if not rows:
        return None
    if search.twin is not None:
        rows.append(_row_of(f"{TWIN} (noise)", "twin", *search.twin))
    return _Forest(search, rows, width).draw()


def _row(row: VariantRow) -> _Row:
    assert row.gain_ns is not None
    return _row_of(row.label, row.status, row.gain_ns, row.gain)


def _row_of(label: str, css: str, value: float, gain: Interval | None) -> _Row:
    low, high = (gain.low, gain.high) if gain is not None else (None, None)
    return _Row(label=label, css=css, value=value, low=low, high=high)


class _Forest:
    def __init__(self, search: Search, rows: Sequence[_Row], width: float) -> None:
        self._search, self._rows = search, rows
        self._stacked = width < WIDE
        self._row = STACKED if self._stacked else ROW
        left = 10.0 if self._stacked else LABELS
        right = width - (10.0 if self._stacked else VALUES)
        reach = [value for row in rows for value in row.reach]
        reach += [0.0, search.needed_ns or 0.0, -(search.noise_floor_ns or 0.0)]
        spare = 0.03 * (max(reach) - min(reach) or 1.0)
        self._x = Axis(low=min(reach) - spare, high=max(reach) + spare, start=left, end=right)
        self._drawing = Drawing(
            width=width,
            height=HEAD + self._row * len(rows) + FOOT,
            label=_label(search, len(rows)),
            css="forest",
        )

    def draw(self) -> Drawing:
        """Grid and limits first, variants over them."""
        bottom = HEAD + self._row * len(self._rows)
        self._limits(bottom)
        for number, row in enumerate(self._rows):
            self._variant(row, HEAD + number * self._row)
        return self._drawing

    def _limits(self, bottom: float) -> None:
        drawing, x = self._drawing, self._x
        floor, needed = self._search.noise_floor_ns, self._search.needed_ns
        if floor is not None:
            band = drawing.box("noise", x(-floor), HEAD, x(floor) - x(-floor), bottom - HEAD)
            hover(band, f"noise floor: generic differs from itself by {words.ns(floor)}")
        for value in x.ticks(4 if self._stacked else 8):
            drawing.line("grid", x(value), HEAD, x(value), bottom)
            drawing.text(
                "tick", x(value), bottom + 16, f"{value:g}".replace("-", "\u2212"), "middle"
            )
        drawing.line("zero", x(0), HEAD - 4, x(0), bottom)
        if needed is not None:
            line = drawing.line("needed", x(needed), HEAD - 4, x(needed), bottom)
            hover(line, f"a gain has to exceed {words.ns(needed)}")
            drawing.text("needed-name", x(needed) + 4, HEAD - 8, f"needed: {words.ns(needed)}")
        middle = (x.start + x.end) / 2
        drawing.text("unit", middle, bottom + 33, "gain over generic, ns per packet", "middle")

    def _variant(self, row: _Row, top: float) -> None:
        drawing, x = self._drawing, self._x
        y = top + (28 if self._stacked else self._row / 2)
        group = drawing.add("g", f"variant {row.css}")
        hover(group, f"{row.label}: {row.told}")
        room = (x.end - x.start - 130) if self._stacked else LABELS - 14
        label = drawing.add("text", "label", at=group, y=top + 14 if self._stacked else y + 4)
        label.set("x", "10" if self._stacked else f"{LABELS - 10:g}")
        label.set("text-anchor", "start" if self._stacked else "end")
        label.text = fit(row.label, room, 12)
        if row.low is not None and row.high is not None:
            for x1, y1, x2, y2 in _whisker(x(row.low), x(row.high), y):
                drawing.add("line", "", at=group, x1=x1, y1=y1, x2=x2, y2=y2)
        drawing.add("circle", "", at=group, cx=x(row.value), cy=y, r=4.5)
        value = drawing.add("text", "value", at=group, y=top + 14 if self._stacked else y + 4)
        value.set("x", f"{x.end if self._stacked else x.end + 12:g}")
        value.set("text-anchor", "end" if self._stacked else "start")
        value.text = row.told


def _whisker(left: float, right: float, y: float) -> list[tuple[float, float, float, float]]:
    ends = [(at, y - 4.0, at, y + 4.0) for at in (left, right)]
    return [(left, y, right, y), *ends]


def _label(search: Search, rows: int) -> str:
    return (
        f"Search {search.number}: gain over generic of {rows} variants, with 99 % intervals where "
        "the log has them. The table has the same numbers."
    )
