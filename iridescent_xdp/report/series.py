# SPDX-License-Identifier: GPL-2.0-only
"""Thins out long series for drawing. What is drawn is the median of a pixel and its extremes.

Nothing is smoothed away: the band from the smallest to the largest value stays visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

Points = Sequence[tuple[float, float]]

GAP = 4.0  # times the usual distance of two points: nothing was read in between


@dataclass(frozen=True, kw_only=True)
class Thin:
    """``middle`` to be drawn as a line, ``low`` and ``high`` as a band around it (or empty)."""

    middle: list[tuple[float, float]]
    low: list[tuple[float, float]]
    high: list[tuple[float, float]]


def thin(points: Points, columns: int) -> Thin:
    """At most ``columns`` points; as they are when there are not more."""
    if len(points) <= columns:
        return Thin(middle=list(points), low=[], high=[])
    first, last = points[0][0], points[-1][0]
    width = (last - first) / columns or 1.0
    groups: dict[int, list[tuple[float, float]]] = {}
    for x, y in points:
        groups.setdefault(min(columns - 1, int((x - first) / width)), []).append((x, y))
    middle, low, high = [], [], []
    for group in groups.values():
        x = median(p[0] for p in group)
        values = [p[1] for p in group]
        middle.append((x, median(values)))
        low.append((x, min(values)))
        high.append((x, max(values)))
    return Thin(middle=middle, low=low, high=high)


def stretches(points: Sequence[tuple[float, float, str]]) -> list[tuple[str, Points]]:
    """``(x, y, name)`` cut where the name changes and where nothing was read for a while."""
    gaps = sorted(b[0] - a[0] for a, b in pairwise(points))
    longest = GAP * gaps[len(gaps) // 2] if gaps else 0.0
    cut: list[tuple[str, list[tuple[float, float]]]] = []
    before = 0.0
    for x, y, name in points:
        if not cut or x - before > longest:
            cut.append((name, []))
        elif cut[-1][0] != name:
            cut[-1][1].append((x, y))
            cut.append((name, []))
        cut[-1][1].append((x, y))
        before = x
    return [(name, list(found)) for name, found in cut]
