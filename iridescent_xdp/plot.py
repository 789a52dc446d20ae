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

from iridescent_xdp.errors import IridescentError

Event = Mapping[str, Any]

GENERIC, TWIN = "generic", "generic again"
TOP = 3  # variants with a colour and a name; the others are grey
SIZE_INCHES, DPI = (12.0, 6.5), 120
LABEL_GAP = 0.045  # of the axis' height, between two names at the right
LABEL_CHARACTERS = 44
_GREY, _BLACK, _SWAP = "#b8b8b8", "#202020", "#c0392b"
_COLOURS = ("#1a8f3c", "#1f6fb4", "#8e44ad")


@dataclass(kw_only=True)
class History:
    """What the events of one search hold; times in seconds since its beginning and in ns."""

    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    swaps: list[tuple[float, str]] = field(default_factory=list)
    gains: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    end_s: float = 0.0

    @property
    def ranking(self) -> list[str]:
        """Variants by what they saved in their last trial, against generic in the same trial."""
        return sorted(self.gains, key=lambda name: -self.gains[name])


def history(events: Iterable[Event]) -> History:
    """Collect trials and swaps."""
    found = History()
    for event in events:
        at = float(event["elapsed_s"])
        found.end_s = max(found.end_s, at)
        if event["event"] == "trial":
            _add_trial(found, at, event["arms"])
        elif event["event"] == "swap":
            found.swaps.append((at, str(event["variant"])))
        elif event["event"] == "refused":
            found.refused += 1
    return found


def _add_trial(found: History, at: float, arms: Sequence[Mapping[str, Any]]) -> None:
    generic_ns = next(arm["time_ns"] for arm in arms if arm["variant"] == GENERIC)
    for arm in arms:
        name = str(arm["variant"])
        found.points.setdefault(name, []).append((at, float(arm["time_ns"])))
        if name not in (GENERIC, TWIN):
            found.gains[name] = generic_ns - arm["time_ns"]


def plot_search(events: Iterable[Event], path: Path, title: str = "") -> None:
    """Write the picture as PNG. Raises IridescentError when ``path`` cannot be written."""
    found = history(events)
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw(axes, found)
    axes.set_title(title or _title(found), loc="left")
    try:
        figure.savefig(path, dpi=DPI, format="png")
    except OSError as error:
        raise IridescentError(
            f"cannot write the picture {path}: {error.strerror}", cure="choose another file"
        ) from error


def _title(found: History) -> str:
    refused = f", {found.refused} refused" if found.refused else ""
    swaps = f"{len(found.swaps)} swap{'' if len(found.swaps) == 1 else 's'}"
    return f"Search: {len(found.gains)} variants measured{refused}, {swaps}"


def _draw(axes: Axes, found: History) -> None:
    top = _highlighted(found)
    labels: list[tuple[float, str, str]] = []
    for name, points in found.points.items():
        colour = top.get(name, _GREY)
        _line(axes, points, colour, strong=name in top, twin=name == TWIN)
        if name in top and name != TWIN:
            labels.append((points[-1][1], name, colour))
    axes.set_xlabel("time since the search began, s")
    axes.set_ylabel("time per packet, ns (two clock reads included)")
    axes.set_xlim(0, max(found.end_s, 1e-3) * 1.02)
    axes.set_ylim(0, max([y for p in found.points.values() for _, y in p], default=1.0) * 1.18)
    axes.grid(axis="y", color="#e6e6e6")
    axes.spines[["top", "right"]].set_visible(False)
    _name(axes, labels)
    _mark_swaps(axes, found.swaps)
    _legend(axes, found)
    if not found.points:
        axes.text(0.5, 0.5, "no trial was measured", transform=axes.transAxes, ha="center")


def _highlighted(found: History) -> dict[str, str]:
    """Colours of what gets a name: generic, the variants that were swapped in, the best."""
    wanted = [name for _, name in reversed(found.swaps) if name in found.gains]
    best = list(dict.fromkeys([*wanted, *found.ranking]))[:TOP]
    return {GENERIC: _BLACK, TWIN: _BLACK, **dict(zip(best, _COLOURS, strict=False))}


def _line(
    axes: Axes, points: Sequence[tuple[float, float]], colour: str, *, strong: bool, twin: bool
) -> None:
    xs, ys = zip(*points, strict=True)
    axes.plot(
        xs,
        ys,
        color=colour,
        linewidth=2.0 if strong and not twin else 0.8,
        linestyle=":" if twin else "-",
        marker="o",
        markersize=0 if twin else 5 if strong else 3,
        zorder=3 if strong else 2,
    )


def _name(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Names at the right end of the lines, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    gap, floor = LABEL_GAP * (high - low), low
    for y, name, colour in sorted(labels):
        place = max(y, floor)
        floor = place + gap
        axes.annotate(
            f"{y:.1f} ns  {_short(name)}",
            xy=(right, y),
            xytext=(right * 1.01, place),
            color=colour,
            va="center",
            fontsize=9,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6},
        )


def _short(name: str) -> str:
    """Long names on several lines would overlap: cut, the table has them in full."""
    return name if len(name) <= LABEL_CHARACTERS else f"{name[: LABEL_CHARACTERS - 1]}…"


def _mark_swaps(axes: Axes, swaps: Sequence[tuple[float, str]]) -> None:
    top = axes.get_ylim()[1]
    for at, name in swaps:
        axes.axvline(at, color=_SWAP, linewidth=1.4, linestyle="--", zorder=4)
        axes.text(
            *(at, top * 0.985, f"swap to {_short(name)} "),
            color=_SWAP,
            ha="right",
            va="top",
            fontsize=9,
        )


def _legend(axes: Axes, found: History) -> None:
    if found.points:
        axes.plot(
            [], [], color=_GREY, marker="o", markersize=3, linewidth=0.8, label="other variants"
        )
        axes.plot([], [], color=_BLACK, linestyle=":", linewidth=0.8, label="generic again (noise)")
        axes.legend(loc="lower left", frameon=False, fontsize=9, ncols=2)
