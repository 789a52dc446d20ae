# SPDX-License-Identifier: GPL-2.0-only
"""A search tree over a first-match table, for the least expected number of tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2

from iridescent_xdp.decision.clauses import Clause, all_of
from iridescent_xdp.decision.dispatch import dispatch
from iridescent_xdp.decision.nodes import Field, Node, Result, If
from iridescent_xdp.decision.regions import Prior, Region, bits_of, cell_shares, divided, whole_space

PRICE = 1/6400
Key = tuple[object, ...]


def tree_of(
    clauses: Sequence[Clause],
    weights: Sequence[float],
    *,
    priors: Mapping[Field, Prior],
    leaf: int,
) -> Node:
    builder = _Builder(clauses, leaf, PRICE * len(clauses), sum(weights))
    return builder.node(whole_space(clauses, weights, priors))


@dataclass(slots=True)
class _Plan:
    axis: int
    groups: list[list[int]]
    cost: float
    shares: list[float]


CH = 0.8

class _Builder:
    def __init__(self, clauses, leaf, price, total) -> None:
        self._clauses = clauses
        self._leaf = leaf
        self._price = price
        self._total = total
        self._made: dict[Key, Node] = {}
        self._results: dict[int, Result] = {}

    def node(self, region: Region) -> Node:
        if not region.axes:
            return self._result(region.first)
        key = region.key
        if key not in self._made:
            self._made[key] = self._new_node(region)
        return self._made[key]

    def _new_node(self, region: Region) -> Node:
        count = region.live.bit_count() - 1
        size = chain_tests(region)
        if count <= self._leaf:
            return self._chain(region)
        plans = [self._plan(region, n) for n in range(len(region.axes))]
        plan = min(plans, key=lambda p: p.cost)
        w = sum(region.weights.values()) / self._total
        if plan.cost > w * CH * count + self._price * size:
            return self._chain(region)
        parts = divided(region, plan.axis, plan.groups)
        targets: list[Node] = [None] * len(region.axes[plan.axis].lows)
        for part, cells in zip(parts, plan.groups):
            node = self.node(part)
            for i in cells:
                targets[i] = node
        return dispatch(region.axes[plan.axis], plan.shares, targets, self._leaf)

    def _estimate(self, w, n, size):
        """tests-equivalents"""
        chain = w * CH * n + self._price * size
        if n < 3: return chain
        return min(chain, w * (1.0 + 1.5 * log2(n)) + self._price * 1.5 * size)

    def _plan(self, region: Region, number: int) -> _Plan:
        axis = region.axes[number]
        shares = cell_shares(region, axis)
        s = sum(shares)
        w = sum(region.weights.values()) / self._total
        covering, others, own = region.live, 0, 0
        for i, other in enumerate(region.axes):
            everywhere = -1
            for m in other.masks: everywhere &= m
            asking = (region.live & ~everywhere).bit_count()
            if i != number:
                covering &= everywhere
                others += asking
            else: own = asking
        count = region.live.bit_count() - 1
        per_rule = others / count
        classes: dict[int, list[int]] = {}
        for i, m in enumerate(axis.masks):
            c = m & covering
            first = c & -c
            classes.setdefault(m & ((first << 1) - 1) if c else m, []).append(i)
        common = max(map(len, classes.values()))
        tests = (len(shares) - common) * (1 + 1 / self._leaf)
        depth = sum(x / s * log2(s / x) for x in shares if x > 0) + 0.3
        cost = w * depth + self._price * tests
        groups = []; rest = []; restmask = 0; restp = 0; kept_cost = 0
        restsaved = 0
        for mask, cells in classes.items():
            n = mask.bit_count() - 1
            p = sum(shares[i] for i in cells) / s * w
            size = n * per_rule
            est = self._estimate(p, n, size)
            alone = p * CH * count
            if n > 2 and est > alone:
                rest += cells; restmask |= mask; restp += p; restsaved += est - alone
            else:
                groups.append(cells); cost += est
        if rest:
            n = restmask.bit_count() - 1
            size = n * (per_rule + own / count)
            if restp * CH * (n-count) + self._price * size < restsaved:
                rest.sort(); groups.append(rest)
                cost += restp * CH * n + self._price * size
            else:
                groups = list(classes.values()); cost += restsaved + restp * CH * count
        if len(groups) == 1: cost = float("inf")
        return _Plan(number, groups, cost, shares)

    def _result(self, bit: int) -> Result:
        value = self._clauses[bit.bit_length() - 1].result
        if value not in self._results:
            self._results[value] = Result(value)
        return self._results[value]

    def _chain(self, region: Region) -> Node:
        live = region.live
        bit = 1 << (live.bit_length() - 1)
        node: Node = self._result(bit)
        live ^= bit
        while live:
            bit = 1 << (live.bit_length() - 1)
            live ^= bit
            tests = []
            for cells in region.axes:
                inside = [i for i, mask in enumerate(cells.masks) if mask & bit]
                if len(inside) < len(cells.masks):
                    share = sum(cells.measures[i] for i in inside) / sum(cells.measures)
                    tests.append((share, cells.run_test(inside[0], inside[-1] + 1)))
            tests.sort(key=lambda t: t[0])
            node = all_of([t for _, t in tests], self._result(bit), node)
        return node


def chain_tests(region: Region) -> int:
    tests = 0
    for axis in region.axes:
        everywhere = -1
        for m in axis.masks: everywhere &= m
        tests += (region.live & ~everywhere).bit_count()
    return tests
