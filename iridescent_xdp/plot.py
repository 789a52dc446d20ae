# SPDX-License-Identifier: GPL-2.0-only
"""A picture of a search, from its events: time per packet of each variant over time, swaps marked.

Drawn with matplotlib's Agg, so that no display is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from iridescent_xdp.errors import IridescentError

Event = Mapping[str, Any]

GENERIC, TWIN = "generic", "generic again"
TOP = 3  # variants with a colour and a name; the others are grey
SIZE_INCHES, DPI = (11.0, 6.6), 120
LABEL_GAP = 0.05  # of the axis' height, between two labels at the right
MINIMAL_S = 0.02  # a trial is drawn at least this long
_GREY, _BLACK, _SWAP, _SPAN = "#a8a8a8", "#202020", "#c0392b", "#f3f6fa"
_COLOURS = ("#1a8f3c", "#1f6fb4", "#8e44ad")
_LETTERS = "ABC"


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """One variant in one trial; seconds since the beginning of the events."""

    begin_s: float
    end_s: float
    time_ns: float


@dataclass(kw_only=True)
class History:
    """What the events of one search hold; ``gains`` are those of each variant's last trial."""

    stretches: dict[str, list[Stretch]] = field(default_factory=dict)
    swaps: list[tuple[float, str]] = field(default_factory=list)
    gains: dict[str, float] = field(default_factory=dict)
    finalists: list[str] = field(default_factory=list)
    refused: int = 0
    end_s: float = 0.0

    @property
    def top(self) -> list[str]:
        """Who gets a name: what was swapped in, then finalists, then what saved most."""
        swapped = [name for _, name in reversed(self.swaps) if name in self.gains]
        ranking = sorted(self.gains, key=lambda name: -self.gains[name])
        return list(dict.fromkeys([*swapped, *self.finalists, *ranking]))[:TOP]


def history(events: Iterable[Event]) -> History:
    """Collect trials and swaps. A trial is told at its end; it began after the event before."""
    found = History()
    for event in events:  # in their order
        at = float(event["elapsed_s"])
        if event["event"] == "trial":
            _add_trial(found, at, event["arms"])
        elif event["event"] == "swap":
            found.swaps.append((at, str(event["variant"])))
        elif event["event"] == "decision":
            gains = {name: gain["value"] for name, gain in event["gains"].items()}
            found.finalists = sorted(gains, key=lambda name: -gains[name])
        elif event["event"] == "refused":
            found.refused += 1
        found.end_s = max(found.end_s, at)
    return found


def _add_trial(found: History, at: float, arms: Sequence[Mapping[str, Any]]) -> None:
    generic_ns = next(arm["time_ns"] for arm in arms if arm["variant"] == GENERIC)
    begin_s = min(found.end_s, at - MINIMAL_S)
    for arm in arms:
        name = str(arm["variant"])
        stretch = Stretch(begin_s=begin_s, end_s=at, time_ns=float(arm["time_ns"]))
        found.stretches.setdefault(name, []).append(stretch)
        if name not in (GENERIC, TWIN):
            found.gains[name] = generic_ns - arm["time_ns"]


def plot_search(events: Iterable[Event], path: Path, title: str = "") -> None:
    """Write the picture as PNG. Raises IridescentError when ``path`` cannot be written."""
    try:
        draw_search(events, title).savefig(path, dpi=DPI, format="png")
    except OSError as error:
        raise IridescentError(
            f"cannot write the picture {path}: {error.strerror}", cure="choose another file"
        ) from error


def draw_search(events: Iterable[Event], title: str = "") -> Figure:
    """The picture as a figure with one axes."""
    found = history(events)
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title or _title(found), loc="left")
    _frame(axes, found)
    styles = {GENERIC: _BLACK, TWIN: _BLACK, **dict(zip(found.top, _COLOURS, strict=False))}
    for name, stretches in found.stretches.items():
        _draw(axes, stretches, styles.get(name, _GREY), strong=name in styles, dots=name == TWIN)
    _mark_ends(axes, found, styles)
    _mark_swaps(axes, found)
    figure.legend(handles=_legend(found, styles), loc="outside lower left", frameon=False)
    return figure


def _title(found: History) -> str:
    refused = f", {found.refused} refused" if found.refused else ""
    swaps = f"{len(found.swaps)} swap{'' if len(found.swaps) == 1 else 's'}"
    return f"Search: {len(found.gains)} variants measured{refused}, {swaps}"


def _frame(axes: Axes, found: History) -> None:
    times = [s.time_ns for stretches in found.stretches.values() for s in stretches]
    axes.set_xlabel("time since the search began, s (shaded: trials)")
    axes.set_ylabel("time per packet, ns (two clock reads included)")
    axes.set_xlim(0, max(found.end_s, MINIMAL_S) * 1.02)
    axes.set_ylim(0, max(times, default=1.0) * 1.2)
    axes.grid(axis="y", color="#e6e6e6")
    axes.spines[["top", "right"]].set_visible(False)
    for stretch in found.stretches.get(GENERIC, []):
        axes.axvspan(stretch.begin_s, stretch.end_s, color=_SPAN, zorder=0)
    if not times:
        axes.text(0.5, 0.5, "no trial was measured", transform=axes.transAxes, ha="center")


def _draw(
    axes: Axes, stretches: Sequence[Stretch], colour: str, *, strong: bool, dots: bool
) -> None:
    """Thick over each trial, thin between two of them."""
    width = 1.2 if dots or not strong else 3.0
    order = 3 if strong else 2
    for s in stretches:
        style = ":" if dots else "-"
        axes.plot(
            *([s.begin_s, s.end_s], [s.time_ns] * 2),
            color=colour, linewidth=width, linestyle=style, zorder=order,
        )  # fmt: skip
    if strong and not dots:
        xs = [x for s in stretches for x in (s.begin_s, s.end_s)]
        ys = [s.time_ns for s in stretches for _ in range(2)]
        axes.plot(xs, ys, color=colour, linewidth=0.8, zorder=order)


def _mark_ends(axes: Axes, found: History, styles: Mapping[str, str]) -> None:
    """At the right who is where, pushed apart where labels would overlap."""
    low, high = axes.get_ylim()
    right, floor = axes.get_xlim()[1], low
    ends = {name: found.stretches[name][-1].time_ns for name in styles if name in found.stretches}
    ends.pop(TWIN, None)
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        place = max(y, floor)
        floor = place + LABEL_GAP * (high - low)
        axes.annotate(
            f"{_letter(found, name)} {y:.1f} ns",
            xy=(right, place),
            xytext=(4, 0),
            textcoords="offset points",
            color=styles[name],
            va="center",
            fontweight="bold",
            annotation_clip=False,
        )


def _letter(found: History, name: str) -> str:
    return _LETTERS[found.top.index(name)] if name in found.top else name


def _mark_swaps(axes: Axes, found: History) -> None:
    high = axes.get_ylim()[1]
    for at, name in found.swaps:
        axes.axvline(at, color=_SWAP, linewidth=1.6, linestyle="--", zorder=4)
        words = f"swap to {_letter(found, name)} "
        axes.text(at, high * 0.985, words, color=_SWAP, ha="right", va="top", fontweight="bold")


def _legend(found: History, styles: Mapping[str, str]) -> list[Line2D]:
    """Full names, which would not fit beside the lines."""
    entries = []
    for name in (GENERIC, *found.top):
        if name not in found.stretches:
            continue
        last = found.stretches[name][-1]
        words = f"{name}: {last.time_ns:.1f} ns"
        if name in found.gains:
            gain = f"{found.gains[name]:.1f} ns less than generic in the same trial"
            words = f"{_letter(found, name)}  {words}, {gain}"
        entries.append(Line2D([], [], color=styles[name], linewidth=3, label=words))
    if entries:
        twin = "generic again: how far it is from generic is noise"
        entries.append(Line2D([], [], color=_BLACK, linestyle=":", linewidth=1.2, label=twin))
    if len(found.gains) > TOP:
        others = f"the other {len(found.gains) - TOP} variants"
        entries.append(Line2D([], [], color=_GREY, linewidth=1.2, label=others))
    return entries
