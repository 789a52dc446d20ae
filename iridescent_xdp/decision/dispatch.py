# SPDX-License-Identifier: GPL-2.0-only
"""From the cell of an axis to a node: a binary search, weighed by traffic."""

from __future__ import annotations

from collections.abc import Sequence

from iridescent_xdp.decision.axes import Axis
from iridescent_xdp.decision.nodes import If, Node

HEAVY = 0.5  # a cell with this share of the traffic is asked for first


def dispatch(axis: Axis, shares: Sequence[float], targets: Sequence[Node], leaf: int) -> Node:
    """Go to ``targets[i]`` for a key in cell ``i``, which gets ``shares[i]`` of the traffic.

    Where at most ``leaf`` cells differ from what surrounds them they are asked for one by one.
    """
    floor = sum(shares) / (8 * len(shares)) or 1.0  # keeps the search balanced enough
    return _search(axis, [share + floor for share in shares], list(targets), leaf)


def _search(axis: Axis, shares: list[float], targets: list[Node], leaf: int) -> Node:
    axis, shares, targets = _joined(axis, shares, targets)
    count = len(targets)
    if count == 1:
        return targets[0]
    around = _most_common(targets)
    others = [i for i, target in enumerate(targets) if target is not around]
    if len(others) <= leaf:
        node = around
        for i in sorted(others, key=lambda i: shares[i]):
            node = If(axis.run_test(i, i + 1), targets[i], node)
        return node
    total = sum(shares)
    heaviest = max(range(count), key=shares.__getitem__)
    if shares[heaviest] >= HEAVY * total:
        rest = [i for i in range(count) if i != heaviest]
        otherwise = _search(
            axis.part(rest), [shares[i] for i in rest], [targets[i] for i in rest], leaf
        )
        return If(axis.run_test(heaviest, heaviest + 1), targets[heaviest], otherwise)
    cut = _middle(shares, total)
    left, right = range(cut), range(cut, count)
    return If(
        axis.run_test(0, cut),
        _search(axis.part(left), shares[:cut], targets[:cut], leaf),
        _search(axis.part(right), shares[cut:], targets[cut:], leaf),
    )


def _joined(
    axis: Axis, shares: list[float], targets: list[Node]
) -> tuple[Axis, list[float], list[Node]]:
    """Neighbours with one target become one cell."""
    starts = [i for i, target in enumerate(targets) if not i or target is not targets[i - 1]]
    if len(starts) == len(targets):
        return axis, shares, targets
    ends = [*starts[1:], len(targets)]
    joined = axis.part(starts)
    joined.highs = [axis.highs[end - 1] for end in ends]
    sums = [sum(shares[start:end]) for start, end in zip(starts, ends, strict=True)]
    return joined, sums, [targets[start] for start in starts]


def _most_common(targets: list[Node]) -> Node:
    counts: dict[Node, int] = {}
    for target in targets:
        counts[target] = counts.get(target, 0) + 1
    return max(counts, key=counts.__getitem__)


def _middle(shares: list[float], total: float) -> int:
    """The cut that halves the traffic best."""
    best, cut, left = total, 1, 0.0
    for i, share in enumerate(shares[:-1]):
        left += share
        if abs(2 * left - total) < best:
            best, cut = abs(2 * left - total), i + 1
    return cut
