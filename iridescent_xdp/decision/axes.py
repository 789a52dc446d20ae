# SPDX-License-Identifier: GPL-2.0-only
"""Axes of a search tree: what tests ask about, and which values clauses do not tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import accumulate
from operator import and_

from iridescent_xdp.decision.nodes import U32_MAX, Field, InRange, Masked, Test
from iridescent_xdp.errors import ConfigError

MASKED_SHARES = (0.75, 0.25)  # how often a masked test fails and holds, when nothing is known


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What values of a field to expect where clauses say nothing.

    ``likely`` gives the shares of some values; the rest is spread half evenly over the values
    up to ``top`` and half evenly over the cells. A ``closed`` field has the likely values only.
    Raises ConfigError when the shares cannot be.
    """

    top: int = U32_MAX
    likely: Mapping[int, float] = field(default_factory=dict)
    closed: bool = False

    def __post_init__(self) -> None:
        total = sum(self.likely.values())
        if min(self.likely.values(), default=1.0) <= 0 or not (
            abs(total - 1) < 1e-9 if self.closed else total < 1
        ):
            raise ConfigError(
                f"shares of likely values are positive and sum to 1 if the field is closed, else "
                f"to less, got {dict(self.likely)}, closed={self.closed}"
            )


@dataclass(slots=True)
class Axis:
    """The values of a field, or whether a masked test holds, cut into cells.

    Cell ``i`` is ``lows[i]..highs[i]``; clauses ``masks[i]`` can match there, and it gets a share
    ``measures[i]`` of the traffic that does not care about this axis. For a masked test cell 0
    is where it fails and cell 1 where it holds. Between two cells there may be values that are
    impossible here: tests may treat them as they like.
    """

    subject: Field | Masked
    lows: list[int]
    highs: list[int]
    masks: list[int]
    measures: list[float]
    _runs: dict[int, tuple[int, int, float]] | None = None

    @property
    def everywhere(self) -> int:
        """The clauses that can match in every cell."""
        return reduce(and_, self.masks)

    def run_test(self, start: int, end: int) -> Test:
        """The cheapest test that tells cells ``start..end-1`` from the others."""
        if isinstance(self.subject, Masked):
            return self.subject
        low = self.lows[start] if start else 0
        high = self.highs[end - 1] if end < len(self.lows) else U32_MAX
        return InRange(self.subject, low, high)

    def part(self, cells: Sequence[int]) -> Axis:
        """Only the given cells."""
        return Axis(
            self.subject,
            [self.lows[i] for i in cells],
            [self.highs[i] for i in cells],
            [self.masks[i] for i in cells],
            [self.measures[i] for i in cells],
        )

    def merged(self, live: int) -> Axis:
        """Neighbours that the ``live`` clauses do not tell apart become one cell."""
        lows: list[int] = []
        highs: list[int] = []
        masks: list[int] = []
        measures: list[float] = []
        last = -1
        for i, whole in enumerate(self.masks):
            mask = whole & live
            if mask == last:
                highs[-1] = self.highs[i]
                measures[-1] += self.measures[i]
            else:
                lows.append(self.lows[i])
                highs.append(self.highs[i])
                masks.append(mask)
                measures.append(self.measures[i])
                last = mask
        return Axis(self.subject, lows, highs, masks, measures)

    def runs(self) -> dict[int, tuple[int, int, float]]:
        """By the bit of each clause that does not match everywhere: its cells ``start..end-1``
        and their measure.
        """
        if self._runs is None:
            self._runs = self._find_runs()
        return self._runs

    def _find_runs(self) -> dict[int, tuple[int, int, float]]:
        everywhere = self.everywhere
        reach = [0.0, *accumulate(self.measures)]
        opened: dict[int, int] = {}
        runs: dict[int, tuple[int, int, float]] = {}
        last = everywhere
        for i, mask in enumerate([*self.masks, everywhere]):
            changed = mask ^ last
            last = mask
            while changed:
                bit = changed & -changed
                changed ^= bit
                start = opened.pop(bit, None)
                if start is None:
                    opened[bit] = i
                else:
                    runs[bit] = (start, i, reach[i] - reach[start])
        return runs

    def spread(self, weights: Mapping[int, float]) -> list[float]:
        """The weight of each cell; a clause's weight is spread over the cells of its run."""
        rates = [0.0] * (len(self.lows) + 1)
        rest = sum(weights.values())
        for bit, (start, end, measure) in self.runs().items():
            weight = weights[bit]
            rest -= weight
            rates[start] += weight / measure
            rates[end] -= weight / measure
        rates[0] += rest / sum(self.measures)
        return [
            max(0.0, rate * measure)
            for rate, measure in zip(accumulate(rates), self.measures, strict=False)
        ]


def switch_axis(test: Masked, asking: int, everyone: int) -> Axis:
    """The axis of a masked test that the clauses ``asking`` need."""
    return Axis(test, [0, 1], [0, 1], [everyone & ~asking, everyone], [*MASKED_SHARES])


def field_axis(
    subject: Field, tests: Sequence[tuple[InRange, int]], everyone: int, prior: Prior
) -> Axis:
    """The axis of a field, from the ranges that clauses (by bit) ask of it."""
    changes: dict[int, int] = {0: 0}
    asking = 0
    for test, bit in tests:
        asking |= bit
        if test.low <= prior.top:
            changes[test.low] = changes.get(test.low, 0) ^ bit
        if test.high < prior.top:
            changes[test.high + 1] = changes.get(test.high + 1, 0) ^ bit
    lows = sorted(changes)
    highs = [low - 1 for low in lows[1:]] + [prior.top]
    mask = everyone & ~asking
    masks = [mask := mask ^ changes[low] for low in lows]
    axis = Axis(subject, lows, highs, masks, _measures(lows, highs, prior))
    if not prior.closed:
        return axis
    return axis.part([i for i, measure in enumerate(axis.measures) if measure > 0])


def _measures(lows: list[int], highs: list[int], prior: Prior) -> list[float]:
    rest = 0.0 if prior.closed else 1.0 - sum(prior.likely.values())
    per_cell = rest / 2 / len(lows)
    per_value = rest / 2 / (prior.top + 1)
    measures = [
        per_cell + per_value * (high - low + 1) for low, high in zip(lows, highs, strict=True)
    ]
    for value, share in prior.likely.items():
        measures[next(i for i, high in enumerate(highs) if value <= high)] += share
    return measures
