# SPDX-License-Identifier: GPL-2.0-only
"""A few shapes as SVG that a style sheet colours; every text and hover text is escaped."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from xml.etree import ElementTree as Tree

from markupsafe import Markup

_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
CHARACTER = 0.55  # width of a character of the page's font, in font sizes


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values from ``low`` to ``high`` onto pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value stands."""
        width = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / width * (self.end - self.start)

    def ticks(self, wanted: int) -> list[float]:
        """Round numbers inside, about ``wanted`` of them."""
        step = nice_step((self.high - self.low) / max(1, wanted))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def nice_step(rough: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten, at least ``rough``."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(n * power for n in _NICE if n * power >= rough * (1 - 1e-9))


@dataclass(kw_only=True)
class Drawing:
    """An SVG element under construction; sizes are in its own pixels."""

    width: float
    height: float
    label: str
    css: str = ""
    root: Tree.Element = field(init=False)

    def __post_init__(self) -> None:
        self.root = Tree.Element(
            "svg",
            {
                "viewBox": f"0 0 {self.width:g} {self.height:g}",
                "role": "img",
                "aria-label": self.label,
                "class": self.css,
            },
        )

    def add(
        self, tag: str, css: str, *, at: Tree.Element | None = None, **numbers: float | str
    ) -> Tree.Element:
        """One element; attribute names with ``_`` are written with ``-``."""
        attributes = {"class": css} if css else {}
        for name, value in numbers.items():
            text = f"{value:.1f}" if isinstance(value, float) else str(value)
            attributes[name.rstrip("_").replace("_", "-")] = text
        return Tree.SubElement(self.root if at is None else at, tag, attributes)

    def line(self, css: str, x1: float, y1: float, x2: float, y2: float) -> Tree.Element:
        """A straight line."""
        return self.add("line", css, x1=x1, y1=y1, x2=x2, y2=y2)

    def box(self, css: str, x: float, y: float, width: float, height: float) -> Tree.Element:
        """A rectangle; it is at least half a pixel wide."""
        return self.add("rect", css, x=x, y=y, width=max(0.5, width), height=height)

    def text(self, css: str, x: float, y: float, words: str, anchor: str = "start") -> None:
        """Words on one line."""
        self.add("text", css, x=x, y=y, text_anchor=anchor).text = words

    def path(self, css: str, points: list[tuple[float, float]]) -> Tree.Element:
        """A line through all points."""
        steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        return self.add("path", css, d=f"M{steps}")

    def markup(self) -> Markup:
        """As text for a page."""
        return Markup(Tree.tostring(self.root, encoding="unicode"))  # ElementTree escaped it


def hover(element: Tree.Element, words: str) -> None:
    """Text that a pointer that rests on the element shows, and that a reader reads."""
    title = Tree.Element("title")
    title.text = words
    element.insert(0, title)


def fit(words: str, pixels: float, size: float = 12.0) -> str:
    """Shortened with an ellipsis to what fits; empty when not even three letters would."""
    room = int(pixels / (CHARACTER * size))
    if len(words) <= room:
        return words
    return words[: room - 1] + "\u2026" if room > 3 else ""
