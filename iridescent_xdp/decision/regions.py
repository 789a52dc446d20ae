# SPDX-License-Identifier: GPL-2.0-only
"""The parts into which a search tree cuts the space of all keys.

Clauses are numbered, and a set of them is a bit mask with the first clause in the lowest bit.
A region keeps the clauses that can still match in it and the axes on which they still differ.
So a test that the way here has decided does not exist any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

from iridescent_xdp.decision.axes import Axis, Prior, field_axis, switch_axis
from iridescent_xdp.decision.clauses import Clause
from iridescent_xdp.decision.nodes import Field, InRange, Masked


@dataclass(slots=True)
class Region:
    """``live`` clauses, the axes on which they differ, the traffic each of them gets here.

    ``weights`` go by the bit of the clause. The last clause matches every key.
    """

    live: int
    axes: list[Axis]
    weights: dict[int, float]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for regions that decide alike."""
        return (self.live, *((axis.subject, *axis.lows, *axis.highs) for axis in self.axes))

    @property
    def weight(self) -> float:
        """The traffic that comes here."""
        return sum(self.weights.values())

    @property
    def clauses(self) -> int:
        """How many clauses there are to ask about."""
        return self.live.bit_count() - 1

    def cell_weights(self, number: int) -> list[float]:
        """The traffic in each cell of an axis, every clause spread over where it matches."""
        return self.axes[number].spread(self.weights)

    def divided(self, number: int, groups: Iterable[Sequence[int]]) -> list[Region]:
        """One region for each group of cells of axis ``number``."""
        axis = self.axes[number]
        runs = axis.runs()
        whole = (0, len(axis.lows), sum(axis.measures))
        parts: list[Region] = []
        for cells in groups:
            here = reduce(or_, [axis.masks[i] for i in cells])
            weights: dict[int, float] = {}
            for bit in bits_of(here):
                start, end, measure = runs.get(bit, whole)
                inside = sum([axis.measures[i] for i in cells if start <= i < end])
                weights[bit] = self.weights[bit] * inside / measure
            axes = [*self.axes[:number], axis.part(cells), *self.axes[number + 1 :]]
            parts.append(narrowed(here, axes, weights))
        return parts


def bits_of(mask: int) -> Iterator[int]:
    """The single bits of a mask, lowest first."""
    while mask:
        bit = mask & -mask
        mask ^= bit
        yield bit


def narrowed(live: int, axes: Sequence[Axis], weights: Mapping[int, float]) -> Region:
    """A region without what cannot match or comes behind a clause that always does."""
    covering = live
    differing: list[int] = []
    for axis in axes:
        somewhere, everywhere = reduce(or_, axis.masks), reduce(and_, axis.masks)
        live &= somewhere
        covering &= everywhere
        differing.append(somewhere ^ everywhere)
    covering &= live
    if covering:
        live &= ((covering & -covering) << 1) - 1
    kept = [axis.merged(live) for axis, mask in zip(axes, differing, strict=True) if mask & live]
    left = {bit: weight for bit, weight in weights.items() if bit & live}
    return Region(live, kept, left)


def whole_space(
    clauses: Sequence[Clause], weights: Sequence[float], priors: Mapping[Field, Prior]
) -> Region:
    """The region of all keys. The last clause must have no tests."""
    ranges: dict[Field, list[tuple[InRange, int]]] = {}
    switches: dict[Masked, int] = {}
    for number, clause in enumerate(clauses):
        for test in clause.tests:
            if isinstance(test, Masked):
                switches[test] = switches.get(test, 0) | 1 << number
            else:
                ranges.setdefault(test.field, []).append((test, 1 << number))
    everyone = (1 << len(clauses)) - 1
    axes = [
        field_axis(field, tests, everyone, priors.get(field, Prior()))
        for field, tests in ranges.items()
    ]
    axes += [switch_axis(test, asking, everyone) for test, asking in switches.items()]
    return narrowed(everyone, axes, {1 << number: w for number, w in enumerate(weights)})
