# SPDX-License-Identifier: GPL-2.0-only
"""A search tree over a first-match table, for few expected tests in little code.

In the manner of HiCuts (Gupta and McKeown, 2000): the space of keys is cut axis by axis until
few clauses are left. Unlike there, a cut has as many parts as there are different sets of
clauses, a binary search finds the part, and equal parts are built once and shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iridescent_xdp.decision.axes import Prior
from iridescent_xdp.decision.clauses import Clause, all_of
from iridescent_xdp.decision.cuts import Costs, Cut, best_cut
from iridescent_xdp.decision.dispatch import dispatch
from iridescent_xdp.decision.nodes import Field, Node, Result, Test
from iridescent_xdp.decision.regions import Region, bits_of, whole_space
from iridescent_xdp.errors import ConfigError

MAX_CUTS_DEEP = 40  # below, a chain: keeps the recursion shallow


def tree_of(
    clauses: Sequence[Clause],
    weights: Sequence[float],
    *,
    priors: Mapping[Field, Prior],
    leaf: int,
    price: float,
) -> Node:
    """Decides as ``chain_of`` does; the last clause must have no tests.

    ``weights`` are the shares of traffic that the clauses decide. ``leaf`` or fewer clauses (or
    values of a field) are asked for one by one. ``price`` is what a test in the code may cost,
    in tests made by each packet. Raises ConfigError when an argument breaks a rule.
    """
    _check(clauses, weights, leaf, price)
    total = sum(weights)
    floor = total / (1_000 * len(weights))  # nothing is impossible
    region = whole_space(clauses, [max(weight, floor) for weight in weights], priors)
    costs = Costs(weight=region.weight, price=price)
    return _Builder(clauses, leaf, costs).node(region, MAX_CUTS_DEEP)


def _check(clauses: Sequence[Clause], weights: Sequence[float], leaf: int, price: float) -> None:
    if not clauses or clauses[-1].tests:
        raise ConfigError("the last clause of a search tree must match every key")
    if len(weights) != len(clauses):
        raise ConfigError(
            f"a search tree needs one weight for each clause, "
            f"got {len(weights)} weights for {len(clauses)} clauses"
        )
    if min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise ConfigError("weights must be finite, not negative, and not all 0")
    if leaf < 1 or price < 0:
        raise ConfigError(f"leaf >= 1 and price >= 0 must hold, got leaf={leaf}, price={price}")


class _Builder:
    """Makes the nodes of regions; like regions get the same node."""

    def __init__(self, clauses: Sequence[Clause], leaf: int, costs: Costs) -> None:
        self._clauses = clauses
        self._leaf = leaf
        self._costs = costs
        self._made: dict[tuple[object, ...], Node] = {}
        self._results: dict[int, Result] = {}

    def node(self, region: Region, deepest: int) -> Node:
        """The node of a region, at most ``deepest`` cuts deep."""
        if not region.axes:
            return self._result(region.live & -region.live)
        key = region.key
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._new_node(region, deepest)
        return made

    def _new_node(self, region: Region, deepest: int) -> Node:
        if region.clauses <= self._leaf or not deepest:
            return self._chain(region)
        cut = best_cut(region, self._costs, self._leaf)
        return self._chain(region) if cut is None else self._search(region, cut, deepest)

    def _search(self, region: Region, cut: Cut, deepest: int) -> Node:
        parts = region.divided(cut.axis, cut.groups)
        target: dict[int, Node] = {}
        for part, cells in zip(parts, cut.groups, strict=True):
            node = self.node(part, deepest - 1)
            target |= dict.fromkeys(cells, node)
        axis = region.axes[cut.axis]
        targets = [target[i] for i in range(len(axis.lows))]
        return dispatch(axis, cut.weights, targets, self._leaf)

    def _result(self, bit: int) -> Result:
        value = self._clauses[bit.bit_length() - 1].result
        if value not in self._results:
            self._results[value] = Result(value)
        return self._results[value]

    def _chain(self, region: Region) -> Node:
        runs = [(axis, axis.runs(), sum(axis.measures)) for axis in region.axes]
        *asked, last = bits_of(region.live)
        node: Node = self._result(last)
        for bit in reversed(asked):
            tests: list[tuple[float, Test]] = []
            for axis, run_of, whole in runs:
                if bit in run_of:
                    start, end, measure = run_of[bit]
                    tests.append((measure / whole, axis.run_test(start, end)))
            tests.sort(key=lambda entry: entry[0])
            node = all_of([test for _, test in tests], self._result(bit), node)
        return node
