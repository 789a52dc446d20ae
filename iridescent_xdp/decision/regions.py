# SPDX-License-Identifier: GPL-2.0-only
"""The parts into which a search tree cuts the space of all keys.

Clauses are numbered and sets of them are bit masks, the first clause in the lowest bit. An
*axis* is one thing that tests ask about: the value of a field, or whether one masked test
holds. Its *cells* are the longest runs of values that the clauses do not tell apart. A region
keeps the clauses that can still match in it and, for each axis on which they still differ, its
cells. So a test that the way here has decided does not exist any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from iridescent_xdp.decision.clauses import Clause
from iridescent_xdp.decision.nodes import U32_MAX, Field, InRange, Masked, Test

MASKED_SHARES = (0.75, 0.25)  # how often a masked test fails and holds, when nothing is known


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What values of a field to expect where clauses say nothing.

    ``likely`` gives the shares of some values; the rest is spread half evenly over the values
    up to ``top`` and half evenly over the cells.
    """

    top: int = U32_MAX
    likely: Mapping[int, float] = field(default_factory=dict)
    closed: bool = False


@dataclass(slots=True)
class Axis:
    """An axis inside a region: clauses ``masks[i]`` can match in cell ``i``.

    The cell is ``lows[i]..highs[i]`` and gets a share ``measures[i]`` of the traffic that does
    not care about this axis. For a masked test cell 0 is where it fails, cell 1 where it holds.
    """

    subject: Field | Masked
    lows: list[int]
    highs: list[int]
    masks: list[int]
    measures: list[float]

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
        result = Axis(self.subject, [], [], [], [])
        lows, highs, masks, measures = result.lows, result.highs, result.masks, result.measures
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
        return result

    def runs(self) -> dict[int, tuple[int, int]]:
        """For the bit of each clause that does not match everywhere: its cells ``start..end-1``."""
        everywhere = -1
        for mask in self.masks:
            everywhere &= mask
        opened: dict[int, int] = {}
        runs: dict[int, tuple[int, int]] = {}
        last = everywhere
        for i, mask in enumerate([*self.masks, everywhere]):
            changed = mask ^ last
            last = mask
            while changed:
                bit = changed & -changed
                changed ^= bit
                if bit in opened:
                    runs[bit] = (opened.pop(bit), i)
                else:
                    opened[bit] = i
        return runs


@dataclass(slots=True)
class Region:
    """``live`` clauses, the axes on which they differ, and the traffic each clause gets here."""

    live: int
    axes: list[Axis]
    weights: dict[int, float]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for regions that decide alike."""
        return (self.live, *((axis.subject, *axis.lows, *axis.highs) for axis in self.axes))

    @property
    def first(self) -> int:
        """The bit of the first clause that can match."""
        return self.live & -self.live


def narrowed(live: int, axes: Sequence[Axis], weights: Mapping[int, float]) -> Region:
    """Without what cannot match or comes behind a clause that always does."""
    covering = live
    for axis in axes:
        somewhere, everywhere = 0, -1
        for mask in axis.masks:
            somewhere |= mask
            everywhere &= mask
        live &= somewhere
        covering &= everywhere
    covering &= live
    if covering:
        live &= ((covering & -covering) << 1) - 1
    kept = [axis.merged(live) for axis in axes]
    left = {bit: weight for bit, weight in weights.items() if bit & live}
    return Region(live, [axis for axis in kept if len(axis.lows) > 1], left)


def cell_shares(region: Region, axis: Axis) -> list[float]:
    """The traffic of each cell: every clause's weight, spread over the cells it matches in."""
    reach = [0.0, *accumulate(axis.measures)]
    rates = [0.0] * (len(axis.lows) + 1)
    rest = sum(region.weights.values())
    for bit, (start, end) in axis.runs().items():
        weight = region.weights[bit]
        rate = weight / (reach[end] - reach[start])
        rest -= weight
        rates[start] += rate
        rates[end] -= rate
    rates[0] += max(rest, 0.0) / reach[-1]
    return [rate * size for rate, size in zip(accumulate(rates), axis.measures, strict=False)]


def divided(region: Region, number: int, groups: Sequence[Sequence[int]]) -> list[Region]:
    """One region for each group of cells of axis ``number``."""
    axis = region.axes[number]
    reach = [0.0, *accumulate(axis.measures)]
    runs = axis.runs()
    whole = (0, len(axis.lows))
    parts: list[Region] = []
    for cells in groups:
        here = 0
        for i in cells:
            here |= axis.masks[i]
        weights: dict[int, float] = {}
        for bit in bits_of(here):
            start, end = runs.get(bit, whole)
            inside = sum(axis.measures[i] for i in cells if start <= i < end)
            weights[bit] = region.weights[bit] * inside / (reach[end] - reach[start])
        axes = [*region.axes[:number], axis.part(cells), *region.axes[number + 1 :]]
        parts.append(narrowed(here, axes, weights))
    return parts


def bits_of(mask: int) -> Iterator[int]:
    """The single bits of a mask, lowest first."""
    while mask:
        bit = mask & -mask
        mask ^= bit
        yield bit


def whole_space(
    clauses: Sequence[Clause], weights: Sequence[float], priors: Mapping[Field, Prior]
) -> Region:
    """All keys; the last clause should have no tests."""
    ranges: dict[Field, list[tuple[int, int, int]]] = {}
    switches: dict[Masked, int] = {}
    for number, clause in enumerate(clauses):
        for test in clause.tests:
            if isinstance(test, Masked):
                switches[test] = switches.get(test, 0) | 1 << number
            else:
                span = (test.low, test.high, 1 << number)
                ranges.setdefault(test.field, []).append(span)
    everyone = (1 << len(clauses)) - 1
    axes = [_field_axis(f, spans, everyone, priors.get(f, Prior())) for f, spans in ranges.items()]
    axes += [
        Axis(test, [0, 1], [0, 1], [everyone & ~asking, everyone], [*MASKED_SHARES])
        for test, asking in switches.items()
    ]
    return narrowed(everyone, axes, {1 << number: w for number, w in enumerate(weights)})


def _field_axis(
    subject: Field, spans: list[tuple[int, int, int]], everyone: int, prior: Prior
) -> Axis:
    changes: dict[int, int] = {0: 0}
    asking = 0
    for low, high, bit in spans:
        asking |= bit
        changes[low] = changes.get(low, 0) ^ bit
        changes[high + 1] = changes.get(high + 1, 0) ^ bit
    changes.pop(prior.top + 1, None)
    lows = sorted(changes)
    highs = [low - 1 for low in lows[1:]] + [prior.top]
    mask = everyone & ~asking
    masks = [mask := mask ^ changes[low] for low in lows]
    axis = Axis(subject, lows, highs, masks, _measures(lows, highs, prior))
    if prior.closed:
        return axis.part([i for i in range(len(lows)) if any(lows[i]<=v<=highs[i] for v in prior.likely)])
    return axis


def _measures(lows: list[int], highs: list[int], prior: Prior) -> list[float]:
    rest = 1.0 - sum(prior.likely.values())
    per_cell = rest / 2 / len(lows)
    per_value = rest / 2 / (prior.top + 1)
    measures = [
        per_cell + per_value * (high - low + 1) for low, high in zip(lows, highs, strict=True)
    ]
    for value, share in prior.likely.items():
        measures[next(i for i, high in enumerate(highs) if value <= high)] += share
    return measures
