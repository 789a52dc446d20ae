# SPDX-License-Identifier: GPL-2.0-only
"""The next axis of a search tree to ask about, and which of its cells to treat alike.

What is minimized is the expected number of tests, plus a price for each test that has to stand
in the code. Cells where the same clauses can match go one way. If it pays, the cells that few
packets reach and that would each need many tests go one way too, and are told apart later or
not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

from iridescent_xdp.decision.axes import Axis
from iridescent_xdp.decision.regions import Region

CHAIN_SHARE = 0.8  # of the clauses of a chain, the share that a packet meets on average


@dataclass(frozen=True, kw_only=True)
class Costs:
    """``weight`` of all traffic; ``price`` of a test in the code, in tests made by each packet."""

    weight: float
    price: float

    def chain(self, share: float, clauses: int, tests: float) -> float:
        """A chain that ``share`` of the traffic meets."""
        return share * CHAIN_SHARE * clauses + self.price * tests

    def best(self, share: float, clauses: int, tests: float) -> float:
        """A guess at the better of a chain and a search of the same clauses."""
        chain = self.chain(share, clauses, tests)
        if clauses <= 2:
            return chain
        search = share * (1 + 1.5 * log2(clauses)) + self.price * 1.5 * tests
        return min(chain, search)


@dataclass(slots=True)
class Cut:
    """Group ``g`` of cells of axis ``axis`` is one part; ``weights`` are those of the cells."""

    axis: int
    groups: list[list[int]]
    weights: list[float]
    cost: float


@dataclass(slots=True)
class _Class:
    """Cells that decide alike: traffic share, clauses and tests that are left, their cost."""

    cells: list[int]
    mask: int
    share: float
    clauses: int
    tests: float
    cost: float


def best_cut(region: Region, costs: Costs, leaf: int) -> Cut | None:
    """The cheapest cut, or None if a chain is cheaper than all of them."""
    everywhere = [axis.everywhere for axis in region.axes]
    asking = [(region.live & ~mask).bit_count() for mask in everywhere]
    share = region.weight / costs.weight
    best: Cut | None = None
    lowest = costs.chain(share, region.clauses, sum(asking))
    for number, axis in enumerate(region.axes):
        weights = region.cell_weights(number)
        covering = region.live
        for other, mask in enumerate(everywhere):
            covering &= mask if other != number else -1
        others = (sum(asking) - asking[number]) / region.clauses
        classes = _classes(axis, weights, covering, others, costs)
        whole = sum(asking) / region.clauses
        groups, cost = _grouped(classes, region.clauses, whole, costs)
        cost += _search_cost(weights, share, classes, leaf, costs)
        if len(groups) > 1 and cost < lowest:
            best, lowest = Cut(number, groups, weights, cost), cost
    return best


def _classes(
    axis: Axis, weights: Sequence[float], covering: int, tests: float, costs: Costs
) -> list[_Class]:
    """The cells by what can match; ``covering`` clauses ask of this axis only."""
    cells_of: dict[int, list[int]] = {}
    for i, mask in enumerate(axis.masks):
        sure = mask & covering
        reachable = mask & (((sure & -sure) << 1) - 1)
        cells_of.setdefault(reachable, []).append(i)
    classes: list[_Class] = []
    for mask, cells in cells_of.items():
        share = sum([weights[i] for i in cells]) / costs.weight
        clauses = mask.bit_count() - 1
        cost = costs.best(share, clauses, clauses * tests)
        classes.append(_Class(cells, mask, share, clauses, clauses * tests, cost))
    return classes


def _grouped(
    classes: list[_Class], clauses: int, tests: float, costs: Costs
) -> tuple[list[list[int]], float]:
    """The classes, those together that are cheaper in one chain than apart; and the cost."""
    apart = sum([c.cost for c in classes])
    lump = [c for c in classes if c.clauses > 2 and c.cost > c.share * CHAIN_SHARE * clauses]
    if len(lump) > 1:
        mask = 0
        for c in lump:
            mask |= c.mask
        left = mask.bit_count() - 1
        together = costs.chain(sum([c.share for c in lump]), left, left * tests)
        saved = sum([c.cost for c in lump]) - together
        if saved > 0:
            lumped = {id(c) for c in lump}
            rest = sorted(i for c in lump for i in c.cells)
            return [rest, *(c.cells for c in classes if id(c) not in lumped)], apart - saved
    return [c.cells for c in classes], apart


def _search_cost(
    weights: Sequence[float], share: float, classes: list[_Class], leaf: int, costs: Costs
) -> float:
    """A guess at what it costs to find the cell: the entropy, and the tests in the code."""
    total = sum(weights)
    depth = 0.3 + sum([w / total * log2(total / w) for w in weights if w > 0])
    common = max(len(c.cells) for c in classes)
    return share * depth + costs.price * (len(weights) - common) * (1 + 1 / leaf)
